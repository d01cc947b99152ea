"""Every kind of damage to what was saved is refused before a number of it is used, and nothing is ever unpickled."""

import json
import logging
import pickle  # noqa: TID251 - to show that none is opened
import shutil
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import akkordeon as ak
from akkordeon import CheckpointDamaged, CheckpointMismatch, launch
from akkordeon.saving import read
from tests.networks import stepped
from tests.saving.saves import contents, normed, reseal, same_weights, train_and_save


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two versions that are whole."""
    folder = tmp_path_factory.mktemp("whole")
    torch.manual_seed(0)
    train_and_save(folder, saves=2)
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def newest(run: Path) -> Path:
    return run / "v000002"


def assert_refused(newest: Path, message: str | None = None) -> None:
    """The version is refused by name; its folder falls back on the version before; no network begins with it."""
    with pytest.raises(CheckpointDamaged, match=message):
        read(newest)
    assert same_weights(read(newest.parent), read(newest.parent / "v000001"))
    for open_it in (lambda: launch(normed(), engine=stepped(), resume=newest), lambda: ak.load(newest, normed())):
        with pytest.raises(CheckpointDamaged):
            open_it()


def files(version: Path) -> list[Path]:
    return sorted(version.iterdir())


def test_a_bit_that_flipped_anywhere_is_noticed(newest: Path) -> None:
    for path in files(newest):
        good = path.read_bytes()
        places = {*range(0, len(good), max(1, len(good) // 24)), len(good) - 1}
        for place in places:
            for bit in (1, 128):
                path.write_bytes(good[:place] + bytes([good[place] ^ bit]) + good[place + 1 :])
                with pytest.raises(CheckpointDamaged):
                    read(newest)
        path.write_bytes(good)
    read(newest)


def test_a_file_that_was_cut_short_or_grew_is_noticed(newest: Path) -> None:
    for path in files(newest):
        good = path.read_bytes()
        for length in (0, 1, 7, 8, 9, len(good) // 2, len(good) - 1):
            path.write_bytes(good[:length])
            with pytest.raises(CheckpointDamaged):
                read(newest)
        if path.suffix == ".safetensors":
            path.write_bytes(good + b"\0")
            with pytest.raises(CheckpointDamaged, match=f"{path.name} has {len(good) + 1} bytes, and had {len(good)}"):
                read(newest)
        path.write_bytes(good)


@pytest.mark.parametrize("number", range(8))
def test_a_file_that_is_missing_is_named(newest: Path, number: int) -> None:
    path = files(newest)[number]
    path.unlink()
    if path.name == "manifest.json":
        with pytest.raises(CheckpointDamaged, match="nothing has been saved in"):
            read(newest)
        assert same_weights(read(newest.parent), read(newest.parent / "v000001"))
    else:
        assert_refused(newest, f"{path.name} is missing")


def test_files_swapped_between_gates_or_versions_are_noticed(run: Path, newest: Path) -> None:
    one, other = newest / "00-stem.safetensors", newest / "01-body.safetensors"
    good = contents(newest)
    one.write_bytes(good[other.name])
    other.write_bytes(good[one.name])
    assert_refused(newest, "00-stem.safetensors")
    other.write_bytes(good[other.name])
    one.write_bytes((run / "v000001" / one.name).read_bytes())  # of the same size
    assert_refused(newest, "00-stem.safetensors is not what was written: its SHA-256 differs")


@pytest.mark.parametrize(
    ("before", "after"), [('"version": ', '"version": 1'), ('"lr"', '"rl"'), ("0.1", "0.2"), ('"stem."', '"stem"')]
)
def test_a_manifest_edited_by_hand_is_noticed(newest: Path, before: str, after: str) -> None:
    path = newest / "manifest.json"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    json.loads(path.read_text(encoding="utf-8"))
    assert_refused(newest, "manifest.json is not what was written")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "null", "3", '"manifest"', '{"sha256": null}', "\udcff", "NaN", "[" * 500], ids=repr
)
def test_what_is_no_manifest_is_refused(newest: Path, text: str) -> None:
    (newest / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    assert_refused(newest)


@pytest.mark.parametrize("missing", ["format", "packages", "gates", "sentinels", "files"])
def test_a_manifest_that_lacks_a_part_is_refused(newest: Path, missing: str) -> None:
    reseal(newest, lambda manifest: manifest.pop(missing))
    assert_refused(newest, missing)


def test_a_manifest_of_another_format_says_what_to_do(newest: Path) -> None:
    reseal(newest, lambda manifest: manifest.update(format=2))
    assert_refused(newest, "it has format 2, and this akkordeon reads 1; install a newer one")


def outside(newest: Path) -> Path:
    """A good file with weights of the right names, that belongs to somebody else."""
    path = newest.parent.parent / "secret.safetensors"
    path.write_bytes((newest / "00-stem.safetensors").read_bytes())
    return path


@pytest.mark.parametrize(
    "name", ["../../secret.safetensors", "{absolute}", "sub/../../../secret.safetensors", "..", "."]
)
def test_a_file_outside_the_folder_is_never_read(newest: Path, name: str) -> None:
    name = name.format(absolute=outside(newest))

    def change(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = manifest["files"].pop("00-stem.safetensors")
        manifest["gates"][0]["weights"] = name

    reseal(newest, change)
    assert_refused(newest)


def test_a_link_out_of_the_folder_is_never_followed(newest: Path) -> None:
    path = newest / "00-stem.safetensors"
    target = outside(newest)
    path.unlink()
    path.symlink_to(target)
    assert_refused(newest, "'00-stem.safetensors' is not a file of its own in this folder")


def as_bytes(change: Callable[[Path], object], path: Path) -> Callable[[dict[str, Any]], None]:
    """Change a file, and have the manifest say that it was written so."""
    change(path)
    data = path.read_bytes()

    def note(manifest: dict[str, Any]) -> None:
        manifest["files"][path.name] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}

    return note


@pytest.mark.parametrize("claimed", [10 * 2**30, 2**63, 2**64 - 1, 0, 1])
def test_a_header_that_claims_to_be_of_any_size_does_no_harm(newest: Path, claimed: int) -> None:
    path = newest / "00-stem.safetensors"
    reseal(newest, as_bytes(lambda p: p.write_bytes(struct.pack("<Q", claimed) + p.read_bytes()[8:]), path))
    assert_refused(newest)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**40]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "XX", "shape": [1], "data_offsets": [0, 4]}},
        {"a": 3},
    ],
    ids=str,
)
def test_a_header_that_lies_about_its_tensors_is_refused(newest: Path, header: Any) -> None:
    text = json.dumps(header).encode()
    path = newest / "00-stem.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    reseal(newest, as_bytes(lambda _: None, path))
    assert_refused(newest)


class Canary:
    """Whoever unpickles this makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def pickled(kind: str, path: Path, canary: Path) -> None:
    if kind == "plain":
        path.write_bytes(pickle.dumps({"stem.0.weight": Canary(canary)}))
    else:
        torch.save({"stem.0.weight": Canary(canary)}, path, _use_new_zipfile_serialization=kind == "zip")


def test_the_canary_sings(tmp_path: Path) -> None:
    pickled("plain", tmp_path / "p", tmp_path / "canary")
    pickle.loads((tmp_path / "p").read_bytes())  # noqa: S301 - our own
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("kind", ["plain", "zip", "old"])
def test_a_pickle_in_place_of_a_file_is_never_opened(newest: Path, tmp_path: Path, kind: str) -> None:
    canary, path = tmp_path / "canary", newest / "00-stem.safetensors"
    pickled(kind, path, canary)
    assert_refused(newest)
    reseal(newest, as_bytes(lambda _: None, path))  # as one who knows how to seal would do
    assert_refused(newest)
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["plain", "zip", "old"])
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_pickle_given_as_weights_is_never_opened(tmp_path: Path, kind: str, name: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / name
    pickled(kind, path, canary)
    for open_it in (lambda: launch(normed(), engine=stepped(), weights=path), lambda: ak.load(path, normed())):
        with pytest.raises(CheckpointDamaged, match=r"no valid safetensors file.*looks like a pickle.*save_file"):
            open_it()
    with pytest.raises(CheckpointDamaged):
        launch(normed(), engine=stepped(), resume=path)
    assert not canary.exists()


@pytest.mark.parametrize("data", [b"", b"\0" * 7, b"{}", b"PK", b"\x80\x04.", b"hello world, hello"], ids=repr)
def test_what_is_no_safetensors_file_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(data)
    with pytest.raises(CheckpointDamaged, match=r"weights\.bin is no valid safetensors file"):
        ak.load(path, normed())
    with pytest.raises(CheckpointDamaged, match=r"there is no file .*gone\.bin; name a safetensors file"):
        ak.load(tmp_path / "gone.bin", normed())


def test_extra_tensors_in_a_sealed_file_are_a_mismatch(newest: Path) -> None:
    path = newest / "02-head.safetensors"
    weights = {"weight": torch.ones(3, 5), "bias": torch.ones(4), "extra": torch.ones(1)}
    reseal(newest, as_bytes(lambda p: save_file(weights, p), path))
    with pytest.raises(CheckpointMismatch, match=r"'head\.bias' is \(4,\).*\(3,\); 'head\.extra' belongs to no gate"):
        launch(normed(), engine=stepped(), resume=newest)


def test_the_reason_of_each_damaged_version_is_told(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / "v000002" / "sentinels.safetensors").unlink()
    with caplog.at_level(logging.WARNING):
        read(run)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    (run / "v000001" / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointDamaged, match=r"v000002: sentinels\.safetensors is missing"):
        read(run)
