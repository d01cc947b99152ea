"""The batches that a sentinel has out: which attempt counts, when to send one again, and when to give one up.

This is the one place in a network that sends anything again. Whatever is lost on the way, a batch ends: it comes back,
or it is given up and counted.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from akkordeon.actor import Ref
from akkordeon.messages.batches import BatchId, Route
from akkordeon.messages.tree import Tree
from akkordeon.sentinel.epochs import Epoch

SHORTEST = 2.0
"""Seconds that a batch has at least before it is sent again."""

PATIENCE = 6.0
"""How many mean round trips it has."""

WEIGHT = 0.1
"""Of the latest round trip in their moving mean."""

STRIKES = 3
"""Gates that may end while a batch is out; with the last one, it is taken for the cause."""

REMEMBERED = 20
"""Batches given up that are remembered by name."""


@dataclass(slots=True)
class OpenBatch:
    """A batch that is out; its figures are known once its output came.

    Args:
        route: of the latest attempt.
        epoch: that it belongs to.
        x: the input, to be sent again if need be.
        target: never leaves the sentinel.
        sent: when its first attempt in this term was sent.
        due: when it is to be sent again.
        patience: seconds between the last two.
        strikes: gates that ended while it was out.
        waits: it is to be sent when nothing else is out.
    """

    route: Route
    epoch: Epoch
    x: Tree
    target: Tree
    sent: float
    due: float
    patience: float
    strikes: int = 0
    waits: bool = False
    figures: Mapping[str, float] | None = None


class InFlight:
    """Batches that are out, oldest first.

    Args:
        time_limit: seconds that a batch has in all.
    """

    def __init__(self, time_limit: float) -> None:
        self.term = 0
        self.resent = 0
        self.given_up: deque[str] = deque(maxlen=REMEMBERED)
        self._limit = time_limit
        self._open: dict[int, OpenBatch] = {}
        self._mean: float | None = None
        self._last_back = -inf

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[OpenBatch]:
        return iter(list(self._open.values()))

    @property
    def oldest(self) -> OpenBatch | None:
        """The batch that is out for longest."""
        return next(iter(self._open.values()), None)

    def find(self, route: Route) -> OpenBatch | None:
        """Return the batch that a message is about, if it is about its latest attempt, and of this term."""
        batch = self._open.get(route.batch.seq)
        if batch is None or not self._is_latest(batch, route) or not self._fits(route):
            return None
        return batch

    def add(self, batch_id: BatchId, home: Ref, size: int, now: float, **fields: object) -> OpenBatch:
        """Note that a batch is about to be sent.

        Args:
            batch_id: which.
            home: the sentinel.
            size: number of samples.
            now: seconds.
            fields: epoch, x and target.
        """
        low = next(iter(self._open), batch_id.seq)
        route = Route(batch_id, 1, self.term, low, home, size)
        patience = self._patience
        batch = OpenBatch(route, sent=now, due=now + patience, patience=patience, **fields)  # type: ignore[arg-type]
        self._open[batch_id.seq] = batch
        return batch

    def came_back(self, batch: OpenBatch, now: float) -> None:
        """Note that a batch is done."""
        del self._open[batch.route.batch.seq]
        self._last_back = now
        if batch.route.attempt == 1:  # of others nobody knows which attempt took how long
            took = now - batch.sent
            self._mean = took if self._mean is None else self._mean + WEIGHT * (took - self._mean)

    def give_up(self, batch: OpenBatch, reason: str) -> None:
        """Wait for a batch no longer."""
        del self._open[batch.route.batch.seq]
        self.given_up.append(f"{batch.route.batch}: {reason}")

    def again(self, batch: OpenBatch, now: float) -> None:
        """Make another attempt of a batch; it has twice as long as before."""
        self.resent += 1
        if batch.waits:
            batch.sent = now
        low = next(iter(self._open))
        batch.route = batch.route._replace(attempt=batch.route.attempt + 1, term=self.term, low=low)
        batch.waits = False
        batch.patience *= 2
        batch.due = now + batch.patience

    def overdue(self, now: float) -> list[OpenBatch]:
        """Return the batches that are to be sent again."""
        return [batch for batch in self._open.values() if now > batch.due and not batch.waits]

    def lost(self, now: float) -> list[OpenBatch]:
        """Return the batches whose time is over."""
        return [batch for batch in self._open.values() if now - batch.sent > self._limit and not batch.waits]

    def is_stuck(self, batch: OpenBatch) -> bool:
        """Whether nothing has come back since this batch was sent."""
        return self._last_back < batch.sent

    def new_term(self, term: int, blame: BatchId | None) -> list[OpenBatch]:
        """Count the gate that has ended against the batches it may have ended of; return those to be given up.

        All others are to be sent again.

        Args:
            term: its number.
            blame: the batch it is known to have ended of; None if that is not known.
        """
        self.term = term
        for batch in self._open.values():
            batch.strikes += not batch.waits and blame in (None, batch.route.batch)
            batch.patience = self._patience / 2
            batch.waits = True
        return [batch for batch in self._open.values() if batch.strikes >= STRIKES]

    def next_waiting(self) -> OpenBatch | None:
        """Return a batch that may be sent again now.

        One that is out for the last time goes alone, so that it cannot take others with it.
        """
        waiting = [batch for batch in self._open.values() if batch.waits]
        free = [batch for batch in waiting if batch.strikes < STRIKES - 1]
        if free:
            return free[0]
        return waiting[0] if waiting and len(waiting) == len(self._open) else None

    @property
    def is_waiting(self) -> bool:
        """Whether some batch is to be sent again before any new one."""
        return any(batch.waits for batch in self._open.values())

    @property
    def _patience(self) -> float:
        return self._limit / 4 if self._mean is None else max(SHORTEST, PATIENCE * self._mean)

    def _is_latest(self, batch: OpenBatch, route: Route) -> bool:
        return batch.route.attempt == route.attempt

    def _fits(self, route: Route) -> bool:
        return route.term == self.term
