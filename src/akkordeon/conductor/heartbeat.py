"""Decides which actors are alive, by their heartbeats."""

from dataclasses import dataclass

from akkordeon.actor import Ref
from akkordeon.conductor.supervision import BEATS, Supervision
from akkordeon.messages.leases import Alive


@dataclass(slots=True)
class Heartbeat:
    """The heartbeats of one actor.

    Args:
        ref: the actor.
        heard: when the latest came.
        number: of the latest; 0 before the first.
        term: that the actor keeps to.
        missed: how many were asked for since.
    """

    ref: Ref
    heard: float
    number: int = 0
    term: int = 0
    missed: int = 0

    def beat(self, sign: Alive, now: float) -> bool:
        """Take in a heartbeat; return whether it is the first, or the first in a new term."""
        news = self.number == 0 or sign.term > self.term
        self.heard, self.missed = now, 0
        self.number, self.term = max(self.number, sign.number), max(self.term, sign.term)
        return news

    def is_silent(self, now: float, supervision: Supervision) -> bool:
        """Whether the actor counts as dead. Rule of the protocol; tested by switching it off.

        Time alone does not decide: the conductor may itself have slept.
        """
        limit = supervision.begin if self.number == 0 and supervision.begin is not None else supervision.lease
        return self.missed > BEATS and now - self.heard > limit
