"""How many workers of a pool are awake: as many as pay, found by measurement.

Threads that run Python share its lock, and each call into torch lets it go: where turns are short, a worker waits for
the lock of the other at every call, and one worker alone does more than two. How short depends on the machine, the
network and what else runs. So turns are counted, by turns with all workers and with one, and the better goes on.

One more worker stands by: where all others are at something that does not end, as a module that hangs, it takes turns
of those who are to notice that.
"""

from math import inf

SPAN = 0.1
"""Seconds that each number is measured for, at a time."""

TRIALS = 2
"""How often each is measured, by turns, since a machine wanders."""

AGAIN = 10.0
"""Seconds until it is looked at again."""

MANY = 2000.0
"""Turns per second below which there is nothing to try: the work between them is long, and wants all workers."""

BETTER = 1.03
"""How much more one worker must do than all, to be left alone."""

STUCK = 0.05
"""Seconds without a new turn after which all are to take those that wait, where one worker was left alone."""

STANDBY = 1
"""Workers that stand by."""

HANGS = 1.0
"""Seconds without a new turn after which the one that stands by is to take them, too."""


class WorkerScaling:
    """Counts turns and says how many workers may be awake. Not thread-safe.

    Args:
        workers: that there are.

    Attributes:
        most: workers that may be awake.
    """

    def __init__(self, workers: int) -> None:
        self.most = workers
        self._all = workers
        self._rates: dict[int, list[float]] = {}
        self._tries = False
        self._count = 0
        self._since = -inf
        self._until = -inf
        self._latest = inf

    def took_turn(self, now: float) -> bool:
        """Count a turn that begins; return whether more workers may be awake from now on."""
        self._latest = now
        self._count += 1
        return now >= self._until and self._decide(now)

    def is_stuck(self, now: float) -> bool:
        """Return whether those that are awake are at something long, and more may be awake from now on."""
        before, idle = self.most, now - self._latest
        if idle >= STUCK and before < self._all:
            self._settle(self._all, now)
        if idle >= HANGS and before == self._all:
            self.most, self._until = self._all + STANDBY, now + SPAN
        return self.most > before

    def _decide(self, now: float) -> bool:
        before, took, count = self.most, now - self._since, self._count
        self.most = min(self.most, self._all)
        if self._all == 1 or not self._tries:
            busy = self._all > 1 and took < 2 * AGAIN and count > MANY * took
            if busy:
                self._tries, self._rates = True, {self._all: [], 1: []}
            self._measure(self._all if busy else self.most, now, SPAN if busy else AGAIN if self._count > 1 else SPAN)
        else:
            if took < 2 * SPAN:  # otherwise nothing was to be done for a while
                self._rates[self.most].append(count / took)
            self._next(now)
        return self.most > before

    def _next(self, now: float) -> None:
        """Measure whatever was measured less often, or come to an end."""
        of_all, of_one = self._rates[self._all], self._rates[1]
        if len(of_all) == len(of_one) == TRIALS:
            self._settle(1 if sum(of_one) > BETTER * sum(of_all) else self._all, now)
        else:
            self._measure(1 if len(of_one) < len(of_all) else self._all, now, SPAN)

    def _settle(self, most: int, now: float) -> None:
        self._tries = False
        self._measure(most, now, AGAIN)

    def _measure(self, most: int, now: float, seconds: float) -> None:
        self.most, self._count, self._since, self._until = most, 0, now, now + seconds
