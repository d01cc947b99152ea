"""All data sets by name, with a description each, and `fetch`."""

import difflib
from collections.abc import Callable, Sized
from dataclasses import dataclass
from pathlib import Path

from akkordeon.datasets import images, text
from akkordeon.datasets.sources import FileSet, locate


@dataclass(frozen=True)
class Fetched:
    """A data set that is available on this machine.

    Args:
        name: of the data set.
        where: the folder of its files (or the file itself); None if it comes with an installed program.
        samples: number in all splits.
        unit: "pictures" or "characters".
        source: where it was found, in words.
    """

    name: str
    where: Path | None
    samples: int
    unit: str
    source: str


@dataclass(frozen=True)
class _DataSet:
    description: str
    load: Callable[..., Sized]
    files: Callable[[], FileSet] | None = None
    comes_with: str = ""
    unit: str = "pictures"


_DATA_SETS = {
    "mnist": _DataSet("70,000 handwritten digits, 28 x 28 pixels", images.mnist, lambda: images.MNIST),
    "fashion-mnist": _DataSet(
        "70,000 pictures of 10 kinds of clothes, 28 x 28 pixels", images.fashion_mnist, lambda: images.FASHION_MNIST
    ),
    "digits": _DataSet(
        "1,797 handwritten digits of scikit-learn, 8 x 8 pixels", images.digits, comes_with="scikit-learn"
    ),
    "shakespeare": _DataSet(
        "Shakespeare's plays, 1,115,394 characters", text.shakespeare, lambda: text.SHAKESPEARE, unit="characters"
    ),
    "python": _DataSet(
        "Python programs that come with the interpreter, 1,000,000 characters",
        text.python,
        comes_with="the interpreter",
        unit="characters",
    ),
}

DATASETS = {name: each.description for name, each in _DATA_SETS.items()}
"""Descriptions of one line, by name."""


def fetch(name: str, folder: Path | None = None) -> Fetched:
    """Make sure that a data set is available and verified.

    Args:
        name: a key of `DATASETS`.
        folder: the user's folder with its files.

    Raises:
        ValueError: the name is unknown (lists the known ones); or a folder is given for a data set without files.
        DataUnavailable: no source has it; lists the sources tried, and says how to place the files by hand.
    """
    if (found := _DATA_SETS.get(name)) is None:
        close = difflib.get_close_matches(name, DATASETS, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"there is no data set {name!r}{guess} There are: {', '.join(DATASETS)}")
    if found.files is not None:
        located = locate(found.files(), folder)
        return Fetched(name, located.where, _count(found, folder=located.where), found.unit, located.source)
    if folder is not None:
        raise ValueError(f"{name!r} comes with {found.comes_with}, not in a folder; leave out {folder}")
    return Fetched(name, None, _count(found), found.unit, found.comes_with)


def _count(data: _DataSet, **where: Path) -> int:
    return sum(len(data.load(split, **where)) for split in ("train", "test"))  # "validate" is the same as "test"
