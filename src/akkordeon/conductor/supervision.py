"""Settings of supervision: when silence counts as death, and how often a gate is restarted."""

from dataclasses import dataclass

from akkordeon.errors import WiringError
from akkordeon.gate.copies import Copying

BEATS = 6
"""Heartbeats that are asked for within a lease; all must be missed before silence counts as death."""


@dataclass(frozen=True)
class Supervision:
    """When gates and sentinels count as dead, and what follows.

    An engine in one process always reports the end of an actor at once; silence matters where hosts and networks may
    fail, and in a simulation of that.

    Args:
        lease: seconds without a heartbeat after which a gate or sentinel counts as dead, and for which a gate that is
            cut off continues to apply gradients.
        begin: seconds that a gate or sentinel has until its first heartbeat; None is a lease. A process of its own
            has to import torch first.
        restarts: how often a gate is restarted within `within` seconds; after one more end, the network has failed. So
            it has as soon as one update failed with the same error for two batches.
        within: seconds.
        backoff: seconds to wait before the first of these restarts, the second, …; the last holds for all others. There
            is no wait where an update has failed again with the same error.
        copy_every: updates of a gate after which it sends a copy to be restarted from.
        copy_share: share of its time that a gate may spend on copies; a large gate is copied less often. At 1 it is
            copied as often as `copy_every` says; if that is 1 too, no update is lost but those whose copies are on
            their way when the gate's host fails.
        stall: seconds without progress after which the network is reported as stalled.

    Raises:
        WiringError: a value is invalid.
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
    def copying(self) -> Copying:
        """How often gates hand over copies."""
        return Copying(self.copy_every, self.copy_share)

    @property
    def beat(self) -> float:
        """Seconds between two heartbeats that are asked for."""
        return self.lease / BEATS
