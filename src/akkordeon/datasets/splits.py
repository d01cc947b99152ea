"""Checks that all data sets share: the split exists, and `take` leaves samples."""

from torch import Tensor

SPLITS = ("train", "validate", "test")
"""Those of every data set."""


def check_split(title: str, split: str) -> None:
    """Check that a data set has this split.

    Raises:
        ValueError: it has not; lists its splits.
    """
    if split not in SPLITS:
        raise ValueError(f"{title} has the splits {', '.join(SPLITS)}, not {split!r}")


def taken(what: str, samples: Tensor, take: slice) -> Tensor:
    """Return the samples that `take` chooses.

    Raises:
        ValueError: it chooses none.
    """
    chosen = samples[take]
    if not len(chosen):
        raise ValueError(f"take {_said(take)} leaves none of the {len(samples)} {what}")
    return chosen


def _said(take: slice) -> str:
    parts = [take.start, take.stop, *([] if take.step is None else [take.step])]
    return ":".join("" if part is None else str(part) for part in parts)
