"""Measures how long the computations of a gate take when nothing delays them."""

WINDOW = 50
"""Computations of a kind of which the lower quartile is taken."""


class Pace:
    """How long a forward or backward takes if nothing is in its way.

    Means would tell more of the machine than of the gate: while computations wait for a core, or for the interpreter
    lock, which with small gates most do, they take several times as long.
    """

    __slots__ = ("_latest", "_quartiles")

    def __init__(self) -> None:
        self._latest: dict[str, list[float]] = {}
        self._quartiles: dict[str, float] = {}

    def add(self, what: str, seconds: float) -> None:
        """Take in how long a computation took, of the kind `what`."""
        latest = self._latest.setdefault(what, [])
        latest.append(seconds)
        if len(latest) == WINDOW:
            self._quartiles[what] = sorted(latest)[WINDOW // 4]
            latest.clear()

    @property
    def seconds(self) -> float:
        """The mean over the kinds, each as its latest `WINDOW` were; 0 until there were so many."""
        return sum(self._quartiles.values()) / max(1, len(self._quartiles))
