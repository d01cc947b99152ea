"""Keeps a gate's lease: until when it may update its weights, though its conductor may have replaced it."""

from math import inf

from akkordeon.messages.leases import Lease


class HeldLease:
    """The newest lease of a gate.

    Attributes:
        number: of the lease.
        heartbeats: when each heartbeat was sent, by its number; from the last one that was answered on.
    """

    def __init__(self) -> None:
        self.number = (0, 0)
        self.heartbeats: dict[int, float] = {}
        self._until = -inf

    def is_news(self, lease: Lease) -> bool:
        """Rule of the protocol: a gate keeps to the newest lease."""
        return lease.number > self.number

    def began(self, lease: Lease) -> float:
        """Return since when a lease runs.

        Rule of the protocol: since the gate sent the heartbeat that the lease answers. So it ends at the gate before it
        ends at the conductor, however long the two messages took.
        """
        return self.heartbeats.get(lease.answers, -inf)

    def allows_update(self, now: float) -> bool:
        """Rule of the protocol: no update without a lease."""
        return now <= self._until

    def renew(self, lease: Lease, now: float) -> int:
        """Take over a lease; return the number of the heartbeat that is sent now."""
        self.number = lease.number
        self._until = max(self._until, self.began(lease) + lease.seconds)
        number = max(self.heartbeats, default=0) + 1
        self.heartbeats = {n: sent for n, sent in self.heartbeats.items() if n >= lease.answers} | {number: now}
        return number
