"""Lets a gate's forwards run one after the other where what one leaves is what the next begins with."""

import logging
from collections import deque
from collections.abc import Callable

from akkordeon.messages.batches import Route

logger = logging.getLogger(__name__)

ALONE_AT_FIRST = 2
"""Forwards that run alone, since they show what the module does to itself: the first may only fill a cache."""


class Turns:
    """The order of the forwards of one gate.

    Args:
        gate: its name, for the log.
        ready: whether the next may begin where they run one after the other.
        is_stray: whether a batch that has waited is not to be computed any more.

    Attributes:
        why: they run one after the other; empty where they need not.
    """

    def __init__(self, gate: str, ready: Callable[[], bool], is_stray: Callable[[Route], bool]) -> None:
        self.why = ""
        self._ready = ready
        self._is_stray = is_stray
        self._gate = gate
        self._begun = self._running = 0
        self._alone = True
        self._waiting: deque[tuple[Route, Callable[[], None]]] = deque()

    @property
    def waiting(self) -> list[Route]:
        """The batches that wait for their turn."""
        return [route for route, _ in self._waiting]

    def take(self, route: Route, begin: Callable[[], None]) -> None:
        """Begin a forward, at once or in its turn."""
        if self._alone or self._waiting:
            self._waiting.append((route, begin))
            self.next()
        else:
            self._running += 1
            begin()

    def end(self) -> None:
        """Note the end of a forward, and begin the next that waits."""
        self._running -= 1
        if self._waiting:
            self.next()

    def only_one(self, why: str) -> None:
        """Let forwards run one after the other from now on."""
        if not self.why:
            self.why = why
            self._alone = True
            logger.warning("gate %r computes one batch at a time: %s", self._gate, why)

    def next(self) -> None:
        """Begin one forward that waits, if it may: a turn of an actor can begin one computation."""
        while self._waiting and not (self._alone and (self._running or not self._ready())):
            route, begin = self._waiting.popleft()
            if not self._is_stray(route):
                self._begun += 1
                self._alone = bool(self.why) or self._begun <= ALONE_AT_FIRST
                self._running += 1
                begin()
                return
