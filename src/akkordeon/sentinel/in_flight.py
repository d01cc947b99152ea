"""Keeps the batches that a sentinel has in flight: which attempt counts, when to resend one, when to give one up.

Nothing else in a network is ever resent. Although messages may be lost, every batch ends: it comes back, or is given up
and counted. Three things give it an end:

- A deadline, `due`: the batch is sent again, and has twice as long as before.
- The time limit: it is given up, as lost.
- Strikes: each gate that ends while it is out may have ended because of it. After the third it is given up, as poison.

When a gate is replaced, a new term begins: all that is in flight waits, and is sent again once the gates are wired.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from akkordeon.actor import Ref
from akkordeon.messages.batches import BatchId, Route
from akkordeon.messages.tree import Tree
from akkordeon.sentinel.epochs import Epoch
from akkordeon.tensors import MovingMean

LEAST_PATIENCE = 2.0
"""Seconds from sending a batch to sending it again, at least."""

ROUND_TRIPS = 6.0
"""The same, in mean round trips."""

WEIGHT_OF_ROUND_TRIP = 0.1
"""Of the latest round trip in their moving mean."""

STRIKES = 3
"""Gates that may end while a batch is out; with the last one, the batch is taken for the cause."""

NAMES_KEPT = 20
"""Batches given up that are remembered by name."""


@dataclass(slots=True)
class OpenBatch:
    """A batch that is in flight.

    Args:
        route: of the latest attempt.
        epoch: that it belongs to.
        x: the input, kept in case it must be sent again.
        target: never leaves the sentinel.
        sent: when its first attempt in this term was sent, in seconds.
        due: when it will be sent again.
        patience: seconds from the latest attempt to `due`.
        strikes: gates that ended while it was out.
        waits: for the gates to be wired, to be sent again.
        figures: loss and metrics, known once its output came.
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
    """Batches that are in flight, oldest first.

    Args:
        time_limit: seconds that a batch has in all.

    Attributes:
        term: number of the wiring in which batches are sent now.
        resent: how often a batch was sent again.
        given_up: the latest batches that were given up, and why, for a person to read.
    """

    def __init__(self, time_limit: float) -> None:
        self.term = 0
        self.resent = 0
        self.given_up: deque[str] = deque(maxlen=NAMES_KEPT)
        self._limit = time_limit
        self._open: dict[int, OpenBatch] = {}
        self._round_trip = MovingMean(WEIGHT_OF_ROUND_TRIP)  # in seconds
        self._last_back = -inf

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[OpenBatch]:
        return iter(list(self._open.values()))

    @property
    def oldest(self) -> OpenBatch | None:
        """The batch that has been in flight for longest."""
        return next(iter(self._open.values()), None)

    def find(self, route: Route) -> OpenBatch | None:
        """Return the batch that a message is about; None if it is about another attempt than the latest, or over."""
        batch = self._open.get(route.batch.seq)
        if batch is None or not self._is_latest_attempt(batch, route) or not self._is_of_this_term(route):
            return None
        return batch

    def add(
        self, batch_id: BatchId, home: Ref, size: int, now: float, *, epoch: Epoch, x: Tree, target: Tree
    ) -> OpenBatch:
        """Note that a batch is about to be sent.

        Args:
            batch_id: which.
            home: the sentinel.
            size: number of samples.
            now: seconds.
            epoch: that the batch belongs to.
            x: its input.
            target: its target.
        """
        low = next(iter(self._open), batch_id.seq)
        route = Route(batch_id, 1, self.term, low, home, size)
        patience = self._patience
        batch = OpenBatch(route, epoch, x, target, sent=now, due=now + patience, patience=patience)
        self._open[batch_id.seq] = batch
        return batch

    def came_back(self, batch: OpenBatch, now: float) -> None:
        """Note that a batch is done."""
        del self._open[batch.route.batch.seq]
        self._last_back = now
        # What comes back may be an answer to an earlier attempt, so only a batch that was sent once gives a round trip.
        if batch.route.attempt == 1:
            self._round_trip.add(now - batch.sent)

    def give_up(self, batch: OpenBatch, reason: str) -> None:
        """Forget a batch; what still comes of it is ignored."""
        del self._open[batch.route.batch.seq]
        self.given_up.append(f"{batch.route.batch}: {reason}")

    def again(self, batch: OpenBatch, now: float) -> None:
        """Make another attempt of a batch; it has twice as long as before."""
        self.resent += 1
        if batch.waits:  # waiting for a new gate does not count against its time limit
            batch.sent = now
        low = next(iter(self._open))
        batch.route = batch.route._replace(attempt=batch.route.attempt + 1, term=self.term, low=low)
        batch.waits = False
        batch.patience *= 2
        batch.due = now + batch.patience

    def overdue(self, now: float) -> list[OpenBatch]:
        """Return the batches to be sent again.

        Rule of the protocol: what is overdue is sent again.
        """
        return [batch for batch in self._open.values() if now > batch.due and not batch.waits]

    def lost(self, now: float) -> list[OpenBatch]:
        """Return the batches whose time limit has passed.

        Rule of the protocol: what is lost is given up.
        """
        return [batch for batch in self._open.values() if now - batch.sent > self._limit and not batch.waits]

    def is_stuck(self, batch: OpenBatch) -> bool:
        """Whether nothing has come back since this batch was sent."""
        return self._last_back < batch.sent

    def look(self, now: float) -> str:
        """Describe the batch that has been in flight for longest, for a person to read."""
        if (oldest := self.oldest) is None:
            return ""
        which = f"batch {oldest.route.batch}, attempt {oldest.route.attempt}"
        return f"has {len(self)} batches in flight; the oldest is {which}, for {now - oldest.sent:.1f} s"

    def new_term(self, term: int, blame: BatchId | None) -> list[OpenBatch]:
        """Count a gate that ended against the batches that may be the cause; return those to be given up.

        All others wait to be sent again.

        Args:
            term: its number.
            blame: the batch that is known to be the cause; None if that is not known.
        """
        self.term = term
        for batch in self._open.values():
            # A batch that waits was at no gate, so it cannot be the cause. If the cause is not known, any other may be.
            if not batch.waits and blame in (None, batch.route.batch):
                batch.strikes += 1
            batch.patience = self._patience / 2  # doubled when it is sent: a new term is no fault of the batch
            batch.waits = True
        return [batch for batch in self._open.values() if batch.strikes >= STRIKES]

    def next_waiting(self) -> OpenBatch | None:
        """Return a batch that may be sent again now.

        Rule of the protocol: the last try goes alone. A batch that is one strike short of being given up is sent once
        nothing else is out, so that if a gate ends again, only that batch can be the cause, and no other is struck.
        """
        waiting = [batch for batch in self._open.values() if batch.waits]
        for batch in waiting:
            if batch.strikes < STRIKES - 1:
                return batch
        return waiting[0] if waiting and len(waiting) == len(self._open) else None

    @property
    def is_waiting(self) -> bool:
        """Whether some batch must be sent again before any new one."""
        return any(batch.waits for batch in self._open.values())

    @property
    def _patience(self) -> float:
        """Seconds for a first attempt: several round trips, or a share of the time limit before one is known."""
        return max(LEAST_PATIENCE, ROUND_TRIPS * self._round_trip.value) if self._round_trip.count else self._limit / 4

    def _is_latest_attempt(self, batch: OpenBatch, route: Route) -> bool:
        """Rule of the protocol: only the latest attempt of a batch counts."""
        return batch.route.attempt == route.attempt

    def _is_of_this_term(self, route: Route) -> bool:
        """Rule of the protocol: what was sent in an earlier term does not count."""
        return route.term == self.term
