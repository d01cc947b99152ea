"""How a network is watched over: for how long silence is taken for life, and how often a gate is restarted."""

from dataclasses import dataclass

from akkordeon.actor import Ref
from akkordeon.errors import WiringError
from akkordeon.signals import Alive

__all__ = ["Pulse", "Supervision"]

BEATS = 6
"""Signs of life that are asked for within a lease; all must have been missed before silence counts as death."""


@dataclass(frozen=True)
class Supervision:
    """When gates and sentinels count as dead, and what follows.

    On an engine in one process the end of an actor is always told, at once; silence matters where hosts and networks
    may fail, and in a simulation of that.

    Args:
        lease: seconds after which a gate or sentinel that gives no sign of life is taken for dead, and for which a
            gate that is cut off goes on applying gradients.
        begin: seconds that a gate or sentinel has until its first sign of life; None is a lease. A process of its own
            has to import torch first.
        restarts: how often a gate is restarted within `within` seconds; once more, and the network has failed.
        within: seconds.
        backoff: seconds to wait before the first of these restarts, the second, …; the last holds for all others.
        copy_every: updates of a gate after which it hands over a copy to be restarted from.
        copy_share: of its time that a gate may take for that; a large one is copied less often. At 1 it is copied as
            often as `copy_every` says, and with that at 1 no update is ever lost.
        stall: seconds after which a network in which nothing has moved is reported on.

    Raises:
        WiringError: a value cannot work.
    """

    lease: float = 30.0
    begin: float | None = None
    restarts: int = 5
    within: float = 60.0
    backoff: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    copy_every: int = 20
    copy_share: float = 0.001
    stall: float = 15.0

    def __post_init__(self) -> None:
        for name in ("lease", "within", "copy_every", "stall"):
            if not getattr(self, name) > 0:
                raise WiringError(f"Supervision: {name} must be more than 0, not {getattr(self, name)}")
        if not 0 < self.copy_share <= 1:
            raise WiringError(f"Supervision: copy_share must be more than 0 and at most 1, not {self.copy_share}")
        if self.restarts < 0 or not self.backoff or min(self.backoff) < 0:
            raise WiringError(
                "Supervision: restarts must be at least 0, and backoff some seconds that are at least 0; "
                f"they are {self.restarts} and {self.backoff}"
            )

    @property
    def copying(self) -> tuple[int, float]:
        """When gates hand over copies: after how many updates, and for what share of their time."""
        return self.copy_every, self.copy_share

    @property
    def beat(self) -> float:
        """Seconds between two signs of life that are asked for."""
        return self.lease / BEATS


@dataclass(slots=True)
class Pulse:
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
