"""Measures how long the computations of a gate take when nothing delays them."""

QUARTILE_OF = 50
"""Computations of a kind of which the lower quartile is taken."""


class Pace:
    """How long a forward or backward takes if nothing is in its way.

    A mean would say more about the machine than about the gate: while a computation waits for a core, or for the
    interpreter lock, as most do in small gates, it takes several times as long.
    """

    __slots__ = ("_latest", "_quartiles")

    def __init__(self) -> None:
        self._latest: dict[str, list[float]] = {}
        self._quartiles: dict[str, float] = {}

    def add(self, what: str, seconds: float) -> None:
        """Take in how long a computation took, of the kind `what`."""
        latest = self._latest.setdefault(what, [])
        latest.append(seconds)
        if len(latest) == QUARTILE_OF:
            self._quartiles[what] = sorted(latest)[QUARTILE_OF // 4]
            latest.clear()

    @property
    def seconds(self) -> float:
        """The mean over the kinds, each the quartile of its latest `QUARTILE_OF`; 0 until there were as many."""
        return sum(self._quartiles.values()) / max(1, len(self._quartiles))
