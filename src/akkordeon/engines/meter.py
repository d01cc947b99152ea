"""Measures where the time of one actor goes: in turns, waiting for a worker, or with nothing to do.

An actor has as many slots as it may have computations outstanding. A message takes a slot until its turn is over or,
where it asked for a computation, the turn that takes the result. Without threads or clocks: the engine says what time
it is, under its own lock.
"""

from collections import deque
from math import inf

from akkordeon.actor import Usage

WAITS = 200
"""Of how many of the latest messages the time in the mailbox is kept."""


class Meter:
    """The meter of one actor.

    Args:
        slots: how many computations the actor may have outstanding.
    """

    __slots__ = ("_arrivals", "_began", "_free", "_holds", "_ready", "_slots", "_starved", "_thens", "_turns", "_waits")

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._turns: dict[type | None, float] = {}
        self._thens: dict[type | None, float] = {}
        self._ready = self._starved = 0.0
        self._arrivals: deque[float] = deque()  # of the messages that wait, the oldest first
        self._free: deque[float] = deque()  # since when each free slot is
        self._waits: deque[float] = deque(maxlen=WAITS)
        self._began = 0.0
        self._holds = False  # whether the turn under way holds a slot

    def arrived(self, now: float) -> None:
        """A message was put into the mailbox."""
        self._arrivals.append(now)

    def took(self, now: float) -> None:
        """A turn begins that holds no slot."""
        self._began, self._holds = now, False

    def took_message(self, now: float) -> None:
        """A turn begins that handles a message."""
        arrival = self._arrivals.popleft()
        self._waits.append(now - arrival)
        self._hold(now, arrival)

    def took_result(self, now: float, over: float) -> None:
        """A turn begins that takes the result of a computation; it was over before."""
        self._began, self._holds = now, True
        self._ready += now - over

    def finished(self, now: float, kind: type | None, *, goes_on: bool, computes: bool) -> None:
        """A turn is over; `kind` is the type of its message, and it may have asked for a computation."""
        turns = self._thens if goes_on else self._turns
        turns[kind] = turns.get(kind, 0.0) + now - self._began
        if computes:
            if not self._holds:
                self._hold(self._began, inf)
        elif self._holds and len(self._free) < self._slots:
            self._free.append(now)

    def made(self, now: float) -> None:
        """The actor is there: all its slots are free."""
        self._free.extend([now] * self._slots)

    def usage(self, now: float, overs: list[float]) -> Usage:
        """Return what was measured so far; `overs` is when the computations ended whose results wait."""
        ready, starved = self._ready + sum(now - over for over in overs), self._starved
        oldest = self._arrivals[0] if self._arrivals else inf
        for since in self._free:
            cut = min(max(since, oldest), now)
            starved, ready = starved + cut - since, ready + now - cut
        return Usage(self._slots, dict(self._turns), dict(self._thens), ready, starved, tuple(self._waits), now)

    def _hold(self, now: float, arrival: float) -> None:
        self._began, self._holds = now, True
        if self._free:
            since = self._free.popleft()
            cut = min(max(since, arrival), now)
            self._starved += cut - since
            self._ready += now - cut
