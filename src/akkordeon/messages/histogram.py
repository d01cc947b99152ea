"""Counts how often each whole number came: the staleness of updates, as a plain value."""

from collections.abc import Mapping
from math import ceil
from typing import Any


class Histogram:
    """How often each value came; a plain value, which can be compared, sent and saved.

    As text it is the mean, and in brackets p50, p95 and the largest value: `3.2 (3|4|5)`.

    Args:
        counts: how often each value came so far; whole numbers, not negative.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts = dict(sorted(counts.items())) if counts else {}

    def add(self, value: int) -> None:
        """Take in one value."""
        self._counts[value] = self._counts.get(value, 0) + 1

    def copy(self) -> "Histogram":
        """Return one that goes its own way from here."""
        return Histogram(self._counts)

    @property
    def counts(self) -> dict[int, int]:
        """How often each value came, the smallest value first; a copy, and all that it takes to make this again."""
        return dict(sorted(self._counts.items()))

    @property
    def count(self) -> int:
        """How many values came."""
        return sum(self._counts.values())

    @property
    def mean(self) -> float:
        """Mean of all values; 0 before the first."""
        return sum(value * times for value, times in self._counts.items()) / max(1, self.count)

    @property
    def p50(self) -> int:
        """The median: the smallest value that at least half of all do not exceed; 0 before the first."""
        return self._at(0.5)

    @property
    def p95(self) -> int:
        """The smallest value that at least 95 % of all do not exceed; 0 before the first."""
        return self._at(0.95)

    @property
    def max(self) -> int:
        """The largest value; 0 before the first."""
        return max(self._counts, default=0)

    def figures(self) -> dict[str, Any]:
        """Return what is known in plain values: mean, p50, p95, max, and counts."""
        return {"mean": self.mean, "p50": self.p50, "p95": self.p95, "max": self.max, "counts": self.counts}

    def _at(self, share: float) -> int:
        needed, so_far = ceil(share * self.count), 0
        for value, times in self.counts.items():
            so_far += times
            if so_far >= needed:
                return value
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment] # it changes

    def __str__(self) -> str:
        return f"{self.mean:.1f} ({self.p50}|{self.p95}|{self.max})"

    def __repr__(self) -> str:
        return f"Histogram({self.counts})"
