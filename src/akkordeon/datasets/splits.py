"""Checks that all data sets share: the split exists, and `take` leaves samples."""

from collections.abc import Collection

from torch import Tensor


def check_split(title: str, split: str, splits: Collection[str]) -> None:
    """Check that a data set has this split.

    Raises:
        ValueError: it has not; lists its splits.
    """
    if split not in splits:
        raise ValueError(f"{title} has the splits {', '.join(splits)}, not {split!r}")


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
