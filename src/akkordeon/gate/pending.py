"""Keeps a gate's batches between their forward and their gradient, and remembers which were applied.

Invariants: a batch has one entry, that of its latest attempt; a batch that was applied and may come again is known as
applied; nothing is kept for sentinels that left, nor for batches that their sentinel does not wait for any more.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from akkordeon.messages.batches import BatchId, Route

S = TypeVar("S")


@dataclass(slots=True)
class Entry(Generic[S]):
    """What a gate keeps of a batch until its gradient comes.

    Args:
        attempt: of the forward; the gradient of another attempt does not belong to it.
        version: of the weights that the forward used.
        in_flight: how many other batches were between forward and gradient at this gate.
        saved: what the backward needs; None while the forward is being computed.
        squares: of the norms of the last gradients of all gates before this one, as `Forward` brought it.
    """

    attempt: int
    version: int
    in_flight: int
    saved: S | None = None
    squares: float = 0.0


@dataclass(slots=True)
class _Known:
    """What a gate knows of a sentinel's batches that may come again.

    Args:
        low: the oldest of them; those before are over.
        begun: the latest attempt of each that has been here.
        applied: those that have changed the weights.
    """

    low: int = 0
    begun: dict[int, int] = field(default_factory=dict)
    applied: set[int] = field(default_factory=set)

    def forget_below(self, low: int) -> None:
        self.low = low
        self.begun = {seq: attempt for seq, attempt in self.begun.items() if seq >= low}
        self.applied = {seq for seq in self.applied if seq >= low}


class PendingBatches(Generic[S]):
    """The batches of a gate.

    Args:
        applied: incarnation and number of those that were applied before the gate was restarted.
    """

    def __init__(self, applied: Iterable[tuple[int, int]] = ()) -> None:
        self.term = 0
        self._table: dict[BatchId, Entry[S]] = {}
        # By incarnation of the sentinel, since no two sentinels of a network have the same.
        self._known: defaultdict[int, _Known] = defaultdict(_Known)
        self._attached: Collection[int] = ()
        self._newest = 0
        for incarnation, seq in applied:
            self._known[incarnation].applied.add(seq)

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Entry[S]]:
        return iter(self._table.values())

    def is_of_this_term(self, route: Route) -> bool:
        """Whether a message belongs to the present wiring of the network.

        Rule of the protocol: a gate ignores messages of another term.
        """
        return route.term == self.term

    def is_gone(self, incarnation: int) -> bool:
        """Whether a sentinel has left.

        Rule of the protocol: nothing is begun for a sentinel that has left.
        """
        return incarnation <= self._newest and incarnation not in self._attached

    def is_awaited(self, batch: BatchId) -> bool:
        """Whether its sentinel still waits for a batch."""
        return not self.is_gone(batch.incarnation) and not self._is_over(batch)

    def begin(self, route: Route, version: int, under_way: int = 0) -> Entry[S] | None:
        """Keep an entry for a forward; return None if its sentinel no longer waits for it, or this attempt was here.

        Args:
            route: the batch's.
            version: of the weights.
            under_way: gradients that were taken and are not applied yet.
        """
        batch = route.batch
        self._forget_below(route)
        if not self.is_awaited(batch) or self._has_been_here(route):
            return None
        self._known[batch.incarnation].begun[batch.seq] = route.attempt
        self._table.pop(batch, None)
        entry = self._table[batch] = Entry(route.attempt, version, in_flight=len(self._table) + under_way)
        return entry

    def take(self, route: Route) -> Entry[S] | None:
        """Return the entry that a gradient belongs to, and keep it no longer; None if there is none."""
        entry = self._table.get(route.batch)
        if entry is None or entry.saved is None or not self._is_own_attempt(entry, route):
            return None
        return self._table.pop(route.batch)

    def drop(self, route: Route, entry: Entry[S]) -> None:
        """Forget a batch that could not be computed."""
        if self._table.get(route.batch) is entry:
            del self._table[route.batch]

    def was_applied(self, batch: BatchId) -> bool:
        """Whether an attempt of this batch has changed the weights.

        Rule of the protocol: a batch that was applied is not applied again.
        """
        return batch.seq in self._known[batch.incarnation].applied

    def mark_applied(self, batch: BatchId) -> None:
        """Note that a batch has changed the weights."""
        self._known[batch.incarnation].applied.add(batch.seq)

    @property
    def applied(self) -> tuple[tuple[int, int], ...]:
        """Incarnation and number of the batches that were applied and may come again.

        Rule of the protocol: these travel with a copy, so that a restarted gate knows them, too.
        """
        return tuple((incarnation, seq) for incarnation, each in self._known.items() for seq in sorted(each.applied))

    def rewire(self, term: int) -> None:
        """Begin another term, in which the sentinels send everything in flight again.

        Rule of the protocol: a term takes over nothing from the one before.
        """
        self.term = term
        self._table.clear()

    def attend(self, attached: Collection[int], newest: int) -> int:
        """Forget the sentinels that are not attached; return how many of their batches waited for a gradient.

        Rule of the protocol: a gate keeps nothing of sentinels that have left.
        """
        self._attached, self._newest = attached, newest
        abandoned = [batch for batch in self._table if self.is_gone(batch.incarnation)]
        for batch in abandoned:
            del self._table[batch]
        for incarnation in [each for each in self._known if self.is_gone(each)]:
            del self._known[incarnation]
        return len(abandoned)

    def _is_over(self, batch: BatchId) -> bool:
        """Rule of the protocol: nothing is begun for a batch older than the oldest that its sentinel waits for."""
        known = self._known.get(batch.incarnation)
        return known is not None and batch.seq < known.low

    def _has_been_here(self, route: Route) -> bool:
        """Whether a forward of this attempt, or of a later one, has come before.

        Rule of the protocol: a gate computes each attempt once.
        """
        return self._known[route.batch.incarnation].begun.get(route.batch.seq, 0) >= route.attempt

    def _is_own_attempt(self, entry: Entry[S], route: Route) -> bool:
        """Rule of the protocol: a gradient meets only the forward of its own attempt."""
        return entry.attempt == route.attempt

    def _forget_below(self, route: Route) -> None:
        """Forget what is kept for batches that their sentinel does not wait for any more.

        Rule of the protocol: a gate keeps nothing for batches before the sentinel's oldest one in flight.
        """
        incarnation = route.batch.incarnation
        if not self.is_gone(incarnation) and route.low > self._known[incarnation].low:
            self._known[incarnation].forget_below(route.low)
            for batch in [b for b in self._table if b.incarnation == incarnation and b.seq < route.low]:
                del self._table[batch]
