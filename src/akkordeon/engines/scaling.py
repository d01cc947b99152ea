"""Decides how many workers of a pool are awake: all or one, by which of the two takes more turns per second.

Threads that run Python share its lock, and each call into torch releases it: where turns are short, workers wait for
each other at every call, and one worker alone does more than two. How short depends on the machine, the network and
what else runs. So turns are counted, alternately with all workers and with one, and the better number is kept.

One more worker is on standby: where all others hang, in a module that does not end, say, it takes the turns of the
actors that must notice that.
"""

from math import inf

SPAN = 0.1
"""Seconds of one measurement."""

TRIALS = 2
"""Measurements of each number, alternating, since the speed of a machine varies."""

AGAIN = 10.0
"""Seconds until the next comparison."""

MANY = 2000.0
"""Turns per second below which nothing is compared: the work between turns is long, so all workers pay."""

BETTER = 1.03
"""How many times as much one worker must do as all, to be preferred."""

STUCK = 0.05
"""Seconds without a new turn after which all workers wake, where only one was awake."""

STANDBY = 1
"""Workers on standby."""

HANGS = 1.0
"""Seconds without a new turn after which the one on standby wakes, too."""


class WorkerScaling:
    """Counts turns and decides how many workers may be awake. Not thread-safe.

    Args:
        workers: size of the pool, without those on standby.

    Attributes:
        most: how many workers may be awake.
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
        """Return whether the workers that are awake are busy for long, so that more may be awake from now on."""
        before, idle = self.most, now - self._latest
        if idle >= STUCK and before < self._all:
            self._settle(self._all, now)
        # Only for a moment: as soon as turns are taken again, the comparison starts over without it.
        if idle >= HANGS and before == self._all:
            self.most, self._until = self._all + STANDBY, now + SPAN
        return self.most > before

    def _decide(self, now: float) -> bool:
        before, took, count = self.most, now - self._since, self._count
        self.most = min(self.most, self._all)
        if self._all == 1 or not self._tries:
            # A span that lasted much longer than it should was one without messages, and says nothing.
            busy = self._all > 1 and took < 2 * AGAIN and count > MANY * took
            if busy:
                self._tries, self._rates = True, {self._all: [], 1: []}
            self._measure(self._all if busy else self.most, now, SPAN if busy else AGAIN if self._count > 1 else SPAN)
        else:
            if took < 2 * SPAN:  # otherwise there was nothing to do for a while
                self._rates[self.most].append(count / took)
            self._next(now)
        return self.most > before

    def _next(self, now: float) -> None:
        """Measure the number that was measured less often, or decide."""
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
