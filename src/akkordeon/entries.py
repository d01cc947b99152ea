"""What a gate keeps of batches: those between their forward and their gradient, and which it has applied.

Invariants: of a batch there is one entry, that of its latest attempt; a batch that may come again and was applied is
known to have been; nothing is kept of sentinels that are gone, nor of batches that their sentinel does not wait for.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from akkordeon.messages import BatchId, Route

__all__ = ["Entries", "Entry"]

S = TypeVar("S")


@dataclass(slots=True)
class Entry(Generic[S]):
    """What a gate keeps of a batch until its gradient comes.

    Args:
        attempt: which; a gradient of another one does not belong to this forward.
        version: of the weights that the forward used.
        in_flight: how many other batches were between forward and gradient at this gate.
        saved: what the backward needs; None while the forward is being computed.
    """

    attempt: int
    version: int
    in_flight: int
    saved: S | None = None


class Entries(Generic[S]):
    """The batches of a gate.

    Args:
        applied: incarnation and number of those that were applied before the gate was restarted.
    """

    def __init__(self, applied: Iterable[tuple[int, int]] = ()) -> None:
        self.term = 0
        self._table: dict[BatchId, Entry[S]] = {}
        # By incarnation of the sentinel, since no two sentinels of a network have the same.
        self._low: dict[int, int] = {}
        self._applied: dict[int, set[int]] = {}
        self._attached: Collection[int] = ()
        self._newest = 0
        for incarnation, seq in applied:
            self._applied.setdefault(incarnation, set()).add(seq)

    def __len__(self) -> int:
        return len(self._table)

    def fits(self, route: Route) -> bool:
        """Whether a message belongs to this wiring of the network."""
        return route.term == self.term

    def is_gone(self, incarnation: int) -> bool:
        """Whether a sentinel has left."""
        return incarnation <= self._newest and incarnation not in self._attached

    def begin(self, route: Route, version: int) -> Entry[S] | None:
        """Keep an entry for a forward; None if nobody waits for this attempt any more, or it has been here."""
        batch = route.batch
        self._forget_below(route)
        known = self._table.get(batch)
        late = batch.seq < self._low.get(batch.incarnation, 0)
        if late or self.is_gone(batch.incarnation) or (known is not None and known.attempt >= route.attempt):
            return None
        self._table.pop(batch, None)
        entry = self._table[batch] = Entry(route.attempt, version, in_flight=len(self._table))
        return entry

    def take(self, route: Route) -> Entry[S] | None:
        """Return the entry that a gradient belongs to, and keep it no longer; None if there is none."""
        entry = self._table.get(route.batch)
        if entry is None or entry.saved is None or not self._is_latest(entry, route):
            return None
        return self._table.pop(route.batch)

    def drop(self, route: Route, entry: Entry[S]) -> None:
        """Forget a batch that could not be computed."""
        if self._table.get(route.batch) is entry:
            del self._table[route.batch]

    def was_applied(self, batch: BatchId) -> bool:
        """Whether an attempt of this batch has changed the weights."""
        return batch.seq in self._applied.get(batch.incarnation, ())

    def mark_applied(self, batch: BatchId) -> None:
        """Note that it has."""
        self._applied.setdefault(batch.incarnation, set()).add(batch.seq)

    @property
    def applied(self) -> tuple[tuple[int, int], ...]:
        """Incarnation and number of the batches applied that may come again."""
        return tuple((incarnation, seq) for incarnation, seqs in self._applied.items() for seq in sorted(seqs))

    def rewire(self, term: int) -> None:
        """Begin another term: what is in flight will be sent again."""
        self.term = term
        self._table.clear()

    def attend(self, attached: Collection[int], newest: int) -> int:
        """Keep nothing of sentinels that are not attached; return how many batches of theirs were half-way."""
        self._attached, self._newest = attached, newest
        abandoned = [batch for batch in self._table if self.is_gone(batch.incarnation)]
        for batch in abandoned:
            del self._table[batch]
        self._low = {each: low for each, low in self._low.items() if not self.is_gone(each)}
        self._applied = {each: seqs for each, seqs in self._applied.items() if not self.is_gone(each)}
        return len(abandoned)

    def _is_latest(self, entry: Entry[S], route: Route) -> bool:
        return entry.attempt == route.attempt

    def _forget_below(self, route: Route) -> None:
        """Drop what is kept for batches that their sentinel does not wait for any more."""
        incarnation = route.batch.incarnation
        if route.low > self._low.get(incarnation, 0):
            self._low[incarnation] = route.low
            for batch in [b for b in self._table if b.incarnation == incarnation and b.seq < route.low]:
                del self._table[batch]
            if incarnation in self._applied:
                self._applied[incarnation] = {seq for seq in self._applied[incarnation] if seq >= route.low}
