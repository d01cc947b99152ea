"""All data sets by name, what they are, and fetching one of them."""

import difflib
from collections.abc import Callable, Sized
from dataclasses import dataclass
from pathlib import Path

from akkordeon.datasets import images, text
from akkordeon.datasets.sources import FileSet, locate


@dataclass(frozen=True)
class Fetched:
    """A data set that is there.

    Args:
        name: the data set's.
        where: the folder of its files (or the file itself); None if it comes with a program that is installed.
        samples: how many there are in all splits.
        unit: what one sample is: "pictures" or "characters".
        source: where it was found, in words.
    """

    name: str
    where: Path | None
    samples: int
    unit: str
    source: str


@dataclass(frozen=True)
class _Entry:
    description: str
    unit: str
    load: Callable[[str, Path | None], Sized]
    files: Callable[[], FileSet] | None = None
    comes_with: str = ""


_ENTRIES = {
    "mnist": _Entry(
        "70,000 handwritten digits, 28 x 28 pixels",
        "pictures",
        lambda split, folder: images.mnist(split, folder=folder),
        lambda: images.MNIST,
    ),
    "fashion-mnist": _Entry(
        "70,000 pictures of 10 kinds of clothes, 28 x 28 pixels",
        "pictures",
        lambda split, folder: images.fashion_mnist(split, folder=folder),
        lambda: images.FASHION_MNIST,
    ),
    "digits": _Entry(
        "1,797 handwritten digits, 8 x 8 pixels, out of scikit-learn",
        "pictures",
        lambda split, _: images.digits(split),
        comes_with="scikit-learn",
    ),
    "shakespeare": _Entry(
        "Shakespeare's plays, 1,115,394 characters",
        "characters",
        lambda split, folder: text.shakespeare(split, folder=folder),
        lambda: text.SHAKESPEARE,
    ),
    "python": _Entry(
        "Python programs that come with the interpreter, 1,000,000 characters",
        "characters",
        lambda split, _: text.python(split),
        comes_with="the interpreter",
    ),
}

DATASETS = {name: entry.description for name, entry in _ENTRIES.items()}
"""What there is, by name, with a description of one line."""


def fetch(name: str, folder: Path | None = None) -> Fetched:
    """Make sure that a data set is there, verified.

    Args:
        name: one of `DATASETS`.
        folder: where the user has its files.

    Raises:
        ValueError: there is no data set of that name, with a list of those that there are; or it has no files, and a
            folder is given.
        DataUnavailable: no source has it; says what was tried, and how to place the files by hand.
    """
    entry = _ENTRIES.get(name)
    if entry is None:
        close = difflib.get_close_matches(name, DATASETS, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"there is no data set {name!r}{guess} There are: {', '.join(DATASETS)}")
    if entry.files is None:
        if folder is not None:
            raise ValueError(f"{name!r} comes with {entry.comes_with}, not in a folder; leave {folder} out")
        return Fetched(name, None, _count(entry, None), entry.unit, entry.comes_with)
    found = locate(entry.files(), folder)
    return Fetched(name, found.where, _count(entry, found.where), entry.unit, found.source)


def _count(entry: _Entry, folder: Path | None) -> int:
    return sum(len(entry.load(split, folder)) for split in ("train", "test"))  # validation is the test's
