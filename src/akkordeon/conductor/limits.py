"""How many batches may be in flight at once, and who gets how many of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from akkordeon.conductor.state import Member
from akkordeon.errors import WiringError
from akkordeon.messages.reports import Kind
from akkordeon.sentinel.auto_window import MOST_IN_FLIGHT
from akkordeon.sentinel.description import Sentinel, Window

SLACK = 4
"""How many times later than batches were ever in flight a gradient may be, where no bound is given."""

REMEDY = "Detach one of them, or give them a lower in_flight, or launch the network with a higher limit"


@dataclass(frozen=True, slots=True)
class Limits:
    """How many batches may be in flight at once.

    Args:
        max_staleness: of gradients in training: no more batches of it than this and one are let in, over all sentinels,
            and gradients that come later still are skipped. None lets all in, and skips what comes later than four
            times as many updates as there were ever batches in flight.
        capacity: of all kinds, over all sentinels.

    Raises:
        WiringError: a value cannot be.
    """

    max_staleness: int | None = None
    capacity: int = 1024

    def __post_init__(self) -> None:
        bound, capacity = self.max_staleness, self.capacity
        if bound is not None and (not isinstance(bound, int) or bound < 0):
            raise WiringError(f"max_staleness must be a whole number, at least 0, or None, not {bound}")
        if not isinstance(capacity, int) or capacity < 1:
            raise WiringError(f"capacity must be a whole number, at least 1, not {capacity}")

    def window(self, sentinel: Sentinel, members: Sequence[Member]) -> int | WiringError:
        """Return how many batches a sentinel may have out beside those that are attached; or why it cannot join."""
        left, limit, shares = self._room(sentinel.kind, members)
        if left < 1:
            return WiringError(
                f"sentinel {sentinel.name!r} cannot join: all batches that may be in flight at once ({limit}) are "
                f"granted: {shares}. {REMEDY}"
            )
        return min(MOST_IN_FLIGHT if sentinel.in_flight == "auto" else sentinel.in_flight, left)

    def granted(self, member: Member, in_flight: Window, others: Sequence[Member]) -> int | WiringError:
        """Return how many batches a sentinel that is attached may have out from now on; or why it cannot have so many.

        Args:
            member: the sentinel.
            in_flight: how many it wants.
            others: that are attached.
        """
        left, limit, shares = self._room(member.kind, others)
        if in_flight == "auto" or in_flight <= left:
            return min(MOST_IN_FLIGHT, left) if in_flight == "auto" else in_flight
        granted = f", and granted to others are {shares}" if shares else ""
        return WiringError(
            f"sentinel {member.name!r} cannot have in_flight={in_flight}, but at most {left}: {limit} holds for all "
            f"batches that may be in flight at once{granted}. {REMEDY}"
        )

    def _room(self, kind: Kind, members: Sequence[Member]) -> tuple[int, str, str]:
        """Return how many batches are left for one more of that kind, which limit says so, and who has the others."""
        granted = {each.name: each.window for each in members}
        left, limit = self.capacity - sum(granted.values()), f"capacity={self.capacity}"
        if kind == "train" and self.max_staleness is not None:
            training = {each.name: each.window for each in members if each.kind == "train"}
            if (room := self.max_staleness + 1 - sum(training.values())) < left:
                left, granted, limit = room, training, f"max_staleness={self.max_staleness}"
        return left, limit, ", ".join(f"{name!r} {window}" for name, window in granted.items())

    def latest(self, max_in_flight: int) -> int:
        """Return how late a gradient may come.

        Args:
            max_in_flight: the most batches that training sentinels were ever allowed to have out together.
        """
        return SLACK * max_in_flight if self.max_staleness is None else self.max_staleness
