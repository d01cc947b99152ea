"""Pictures are what the files hold, cut into splits."""

import sys
from pathlib import Path

import pytest
import torch

from akkordeon import DataUnavailable
from akkordeon.datasets import digits, fashion_mnist, images, mnist
from tests.datasets import made_up_mnist
from tests.datasets.made_up_mnist import TEST, TRAIN, file_set, write

FILES = made_up_mnist.files()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(images, "MNIST", file_set())
    return write(tmp_path / "mine", FILES)


def test_the_splits_are_the_files_as_they_are(folder: Path) -> None:
    for split, samples, seed in (("train", TRAIN, 1), ("validate", TEST, 2), ("test", TEST, 2)):
        pixels, labels = made_up_mnist.images(samples, seed)
        part = mnist(split, folder=folder)
        assert torch.equal(part.pixels, pixels)
        assert torch.equal(part.labels, labels)
        assert (part.pixels.dtype, part.labels.dtype) == (torch.uint8, torch.int64)


@pytest.mark.parametrize("take", [slice(7), slice(5, 9), slice(1, None, 3), slice(-4, None)])
def test_what_to_take_is_a_slice(folder: Path, take: slice) -> None:
    part, whole = mnist("train", take, folder=folder), mnist("train", folder=folder)
    assert torch.equal(part.labels, whole.labels[take])
    assert torch.equal(part.pixels, whole.pixels[take])
    assert len(part) == len(part.pixels) == len(whole.labels[take])


def test_the_parts_of_a_share_are_disjoint_and_together_the_whole(folder: Path) -> None:
    parts = [mnist("train", slice(first, None, 3), folder=folder) for first in range(3)]
    together = torch.stack([part.pixels for part in parts], dim=1).flatten(0, 1)
    assert torch.equal(together, mnist("train", folder=folder).pixels)


def test_a_split_that_does_not_exist_is_refused_and_those_that_do_are_listed() -> None:
    for load, title in ((mnist, "MNIST"), (fashion_mnist, "Fashion-MNIST"), (digits, "digits")):
        with pytest.raises(ValueError, match=f"^{title} has the splits train, validate, test, not 'valid'"):
            load("valid")


@pytest.mark.parametrize(
    ("take", "said"), [(slice(0), ":0"), (slice(40, 50), "40:50"), (slice(99, None, 3), "99::3"), (slice(5, 5), "5:5")]
)
def test_taking_nothing_is_refused(folder: Path, take: slice, said: str) -> None:
    with pytest.raises(ValueError, match=f"^take {said} leaves none of the 40 samples of MNIST, split 'test'$"):
        mnist("test", take, folder=folder)


def test_fashion_mnist_has_the_format_of_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "FASHION_MNIST", file_set())
    folder = write(tmp_path / "fashion", FILES)
    assert torch.equal(fashion_mnist("test", folder=folder).pixels, made_up_mnist.images(TEST, 2)[0])


# Digits


def test_digits_are_those_of_scikit_learn_and_every_fifth_is_held_out() -> None:
    train, test = digits("train"), digits("test")
    assert (len(train), len(test)) == (1438, 359)
    assert tuple(train.pixels.shape) == (1438, 8, 8)
    assert train.labels[:10].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 0, 1]
    assert test.labels[:2].tolist() == [4, 9]
    assert torch.equal(digits("validate").pixels, test.pixels)
    assert (int(train.pixels.min()), int(train.pixels.max())) == (0, 255)
    assert train.pixels.dtype == torch.uint8


def test_some_digits_can_be_taken() -> None:
    assert digits("train", slice(3)).labels.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="take 400: leaves none of the 359 samples of digits, split 'test'"):
        digits("test", slice(400, None))


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataUnavailable, match=r"pip install 'akkordeon\[examples\]'"):
        digits("train")
