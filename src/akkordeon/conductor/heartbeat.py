"""Tracks who is alive: heartbeats of gates and sentinels, and the leases that rest on them."""

from dataclasses import dataclass

from akkordeon.actor import Ref
from akkordeon.conductor.supervision import BEATS, Supervision
from akkordeon.messages.leases import Alive


@dataclass(slots=True)
class Heartbeat:
    """Signs of life of one actor.

    Args:
        ref: whose.
        heard: when the last one came.
        number: of the last one.
        term: that it keeps to.
        missed: how many were asked for since.
    """

    ref: Ref
    heard: float
    number: int = 0
    term: int = 0
    missed: int = 0

    def beat(self, sign: Alive, now: float) -> bool:
        """Take in a sign of life; return whether it tells anything new besides."""
        news = self.number == 0 or sign.term > self.term
        self.heard, self.missed = now, 0
        self.number, self.term = max(self.number, sign.number), max(self.term, sign.term)
        return news

    def is_silent(self, now: float, supervision: Supervision) -> bool:
        """Whether it has to be taken for dead.

        Time alone does not tell: who waits may itself have slept.
        """
        limit = supervision.begin if self.number == 0 and supervision.begin is not None else supervision.lease
        return self.missed > BEATS and now - self.heard > limit


@dataclass(frozen=True, slots=True)
class Leases:
    """Whose batches gates may handle: see `Lease`."""

    attached: tuple[int, ...] = ()
    newest: int = 0
    max_staleness: float = float("inf")
