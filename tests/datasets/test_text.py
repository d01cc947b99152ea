"""Texts are numbers of characters, cut into windows whose targets are what follows."""

import hashlib
import sysconfig
from pathlib import Path

import pytest
import torch

from akkordeon import DataUnavailable
from akkordeon.datasets import ASCII, Loader, Text, python, shakespeare, text
from akkordeon.datasets.sources import FileSet

PLAY = ("First Citizen:\nBefore we proceed any further, hear me speak.\n" * 20).encode()


def read_back(some: Text) -> str:
    return "".join(some.vocabulary[code] for code in some.codes)


def numbers(amount: int) -> Text:
    return Text(torch.arange(amount, dtype=torch.uint8))


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text that passes for Shakespeare's."""
    made_up = FileSet("shakespeare", "tiny-shakespeare", {"input.txt": hashlib.sha256(PLAY).hexdigest()}, ())
    monkeypatch.setattr(text, "SHAKESPEARE", made_up)
    path = tmp_path / "mine" / "input.txt"
    path.parent.mkdir()
    path.write_bytes(PLAY)
    return path


# Shakespeare


def test_nine_tenths_are_for_training_and_the_last_tenth_for_validation_and_test(play: Path) -> None:
    border = len(PLAY) * 9 // 10
    assert read_back(shakespeare("train", folder=play)) == PLAY[:border].decode()
    for split in ("validate", "test"):
        assert read_back(shakespeare(split, folder=play)) == PLAY[border:].decode()


def test_the_folder_will_do_as_well_as_the_file(play: Path) -> None:
    assert torch.equal(shakespeare("test", folder=play.parent).codes, shakespeare("test", folder=play).codes)


def test_a_folder_without_it_is_named_with_the_file_that_is_missing(play: Path) -> None:
    play.unlink()
    with pytest.raises(DataUnavailable, match=f"{play.parent} does not hold tiny-shakespeare: input.txt is missing"):
        shakespeare("train", folder=play.parent)


def test_a_split_that_does_not_exist_is_refused() -> None:
    for load, title in ((shakespeare, "tiny-shakespeare"), (python, "python")):
        with pytest.raises(ValueError, match=f"^{title} has the splits train, validate, test, not 'all'"):
            load("all")


# Python


def test_python_is_the_library_of_the_interpreter_in_order_of_names() -> None:
    train, test = python("train"), python("test")
    assert (len(train), len(test)) == (900_000, 100_000)
    first = min(Path(sysconfig.get_path("stdlib")).glob("*.py")).read_text(encoding="utf-8")
    assert read_back(Text(train.codes[: len(first)])) == first
    assert int(train.codes.max()) < len(train.vocabulary) == len(ASCII) == 128
    assert torch.equal(python("validate").codes, test.codes)
    assert torch.equal(python("train").codes, train.codes)


def test_characters_that_are_not_ascii_and_bytes_that_are_no_characters_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.py").write_bytes("x = 'é'\n".encode() + b"\xff" * 3)
    (tmp_path / "a.py").write_bytes(b"import b\n" * 2)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    assert read_back(python("train")) + read_back(python("test")) == "import b\nimport b\nx = ''\n"


def test_an_interpreter_without_the_text_of_its_library_is_an_error_that_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(DataUnavailable, match=f"there are no programs in {tmp_path}"):
        python("train")


# Windows


def test_windows_do_not_overlap_and_their_targets_are_one_character_later() -> None:
    batches = list(Loader(numbers(12).windows(4), 2))
    assert [(x.tolist(), target.tolist()) for x, target in batches] == [
        ([[0, 1, 2, 3], [4, 5, 6, 7]], [[1, 2, 3, 4], [5, 6, 7, 8]])
    ]
    x, target = batches[0]
    assert (x.dtype, target.dtype) == (torch.int64, torch.int64)
    assert x.is_contiguous()
    assert target.is_contiguous()


@pytest.mark.parametrize(("characters", "windows"), [(9, 2), (8, 1), (5, 1), (12, 2), (13, 3)])
def test_the_last_window_needs_a_character_that_follows_it(characters: int, windows: int) -> None:
    assert len(numbers(characters).windows(4)) == windows


def test_each_batch_of_windows_is_made_of_new_tensors() -> None:
    loader = Loader(numbers(12).windows(4), 2)
    for x, target in [*loader, *loader]:
        assert x.data_ptr() != target.data_ptr()
        x.zero_()
        assert target.min() > 0
        target.zero_()
    assert next(iter(loader))[0][0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("take", [slice(3), slice(2, 5), slice(1, None, 3)])
def test_what_to_take_chooses_windows(take: slice) -> None:
    text = numbers(100)
    assert text.windows(7, take).starts.tolist() == text.windows(7).starts[take].tolist()


def test_taking_no_window_is_refused() -> None:
    with pytest.raises(ValueError, match="take 3: leaves none of the 2 windows of 4 in 12 characters"):
        numbers(12).windows(4, slice(3, None))


def test_a_text_shorter_than_a_window_is_refused() -> None:
    for characters in (0, 1, 4):
        with pytest.raises(ValueError, match=f"leaves none of the 0 windows of 4 in {characters} characters"):
            numbers(characters).windows(4)


@pytest.mark.parametrize("length", [0, -3])
def test_the_length_of_a_window_must_be_positive(length: int) -> None:
    with pytest.raises(ValueError, match=f"must be at least 1 character, not {length}"):
        numbers(12).windows(length)
