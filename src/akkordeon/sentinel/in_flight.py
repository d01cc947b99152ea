"""Keeps the batches that a sentinel has in flight: which attempt counts, when to resend one, when to give one up.

Nothing else in a network is ever resent. Although messages may be lost, every batch ends: it comes back, or is given up
and counted. Gates tell with their signs of life which batches they have in hand, waiting or computed. So slow is not
lost. A batch is *missing* when every gate has said twice, some time apart, that it does not have it.

- A batch that is missing is sent again, if messages may be lost, and has twice as long as before.
- A batch that is missing is given up, as lost, when it was last in hand longer ago than the time limit; `TO_BEGIN` in
  place of that, if no gate ever had it.
- When a gate has been computing a batch for longer than the time limit, and nothing has come back for as long, all is
  given up, since whatever is behind it waits.
- Strikes: each gate that ends while it is out may have ended because of it. After the third it is given up, as poison.

When a gate is replaced, a new term begins: all that is in flight waits, and is sent again once the gates are wired.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from akkordeon.actor import Ref
from akkordeon.messages.batches import BatchId, Route
from akkordeon.messages.leases import Alive
from akkordeon.messages.tree import Tree
from akkordeon.sentinel.epochs import Epoch

LEAST_PATIENCE = 2.0
"""Seconds, at least, for which a batch that no gate has in hand may be on its way."""

FIRST_PATIENCE = 15.0
"""The same before anything was heard of any batch, if the time limit is not shorter."""

TO_BEGIN = 60.0
"""Seconds until a gate must have taken a batch in hand, and for which nothing may be heard of the gates, at least."""

STRETCHES = 2.0
"""The same, in times of the longest stretch for which nothing was heard of a batch that was there all the same."""

FADES = 0.98
"""What is left of the longest stretch after each sign of life: a network may become faster."""

CONNECTION = "Look at the connection to the machines of the gates"

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
        seen: when somebody last had it in hand; when it was sent, if nobody had.
        patience: how many times the usual patience this attempt has.
        begun: whether anybody had it in hand in this term.
        missed: since when each gate has said that it does not have it, as long as no other has.
        strikes: gates that ended while it was out.
        waits: for the gates to be wired, to be sent again.
        figures: loss and metrics, known once its output came.
    """

    route: Route
    epoch: Epoch
    x: Tree
    target: Tree
    sent: float
    seen: float
    patience: int = 1
    begun: bool = False
    missed: dict[Ref, float] = field(default_factory=dict)
    strikes: int = 0
    waits: bool = False
    figures: Mapping[str, float] | None = None


class InFlight:
    """Batches that are in flight, oldest first.

    Args:
        time_limit: seconds for which one gate may compute a batch.

    Attributes:
        gates: how many there are.
        term: number of the wiring in which batches are sent now.
        resent: how often a batch was sent again.
        given_up: the latest batches that were given up, and why, for a person to read.
    """

    def __init__(self, time_limit: float) -> None:
        self.gates = 1
        self.term = 0
        self.resent = 0
        self.given_up: deque[str] = deque(maxlen=NAMES_KEPT)
        self._limit = time_limit
        self._open: dict[int, OpenBatch] = {}
        self._stretch = 0.0  # the longest, in seconds
        self._signs: dict[Ref, tuple[Alive, float]] = {}  # the latest of each gate, and when it came
        self._now = 0.0  # at the latest event that told
        self._last_back = 0.0  # or when it began to wait for something to come back
        self._checked = 0.0
        self._silence = 0.0  # seconds; those in which it slept itself do not count

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[OpenBatch]:
        return iter(list(self._open.values()))

    @property
    def oldest(self) -> OpenBatch | None:
        """The batch that has been in flight for longest."""
        return next(iter(self._open.values()), None)

    def look(self, now: float) -> str:
        """Describe what is in flight, for a person to read."""
        if (oldest := self.oldest) is None:
            return ""
        which = f"batch {oldest.route.batch}, attempt {oldest.route.attempt}"
        return f"has {len(self)} batches in flight; the oldest is {which}, for {now - oldest.sent:.1f} s"

    def find(self, route: Route, now: float) -> OpenBatch | None:
        """Return the batch that a message is about; None if it is about another attempt than the latest, or over."""
        batch = self._open.get(route.batch.seq)
        if batch is None or not self._is_latest_attempt(batch, route) or not self._is_of_this_term(route):
            return None
        self._now, self._silence = now, 0.0
        self._is_seen(batch, now)  # here
        return batch

    def saw(self, sign: Alive, now: float) -> None:
        """Take in which batches a gate has in hand."""
        if sign.term != self.term:
            return
        self._now, self._silence, self._stretch = now, 0.0, FADES * self._stretch
        self._signs[sign.actor] = sign, now
        in_hand = {(each.batch, each.attempt) for each in sign.in_hand}
        for batch in self._open.values():
            if batch.route[:2] in in_hand:
                self._is_seen(batch, now)
            else:
                batch.missed.setdefault(sign.actor, now)

    def _is_seen(self, batch: OpenBatch, now: float) -> None:
        """Note that somebody has a batch in hand."""
        if batch.patience == 1:  # of this attempt, at the earliest
            self._stretch = max(self._stretch, now - batch.seen)
        batch.seen, batch.begun = now, True
        batch.missed.clear()

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
        self._now = now
        if not self._open:
            self._last_back, self._silence = now, 0.0
        self._open[batch_id.seq] = OpenBatch(route, epoch, x, target, sent=now, seen=now)
        return self._open[batch_id.seq]

    def came_back(self, batch: OpenBatch, now: float) -> None:
        """Note that a batch is done."""
        del self._open[batch.route.batch.seq]
        self._now = self._last_back = now

    def give_up(self, batch: OpenBatch, reason: str) -> None:
        """Forget a batch; what still comes of it is ignored."""
        del self._open[batch.route.batch.seq]
        self.given_up.append(f"{batch.route.batch}: {reason}")

    def again(self, batch: OpenBatch, now: float) -> None:
        """Make another attempt of a batch; it has twice as long as before."""
        self.resent += 1
        batch.patience *= 2
        if batch.waits:  # a new term is no fault of the batch
            batch.sent = batch.seen = now
            batch.patience, batch.begun, batch.waits = 1, False, False
        batch.missed.clear()
        low = next(iter(self._open))
        batch.route = batch.route._replace(attempt=batch.route.attempt + 1, term=self.term, low=low)

    def overdue(self, *, may_be_lost: bool) -> list[OpenBatch]:
        """Return the batches to be sent again.

        Rule of the protocol: what is missing is sent again; where no message is lost, only a new term does that.
        """
        out = [batch for batch in self._open.values() if may_be_lost and not batch.waits]
        return [batch for batch in out if self._is_missing(batch, batch.patience)]

    def lost(self, now: float) -> list[OpenBatch]:
        """Return the batches that are not waited for any longer.

        Rule of the protocol: what is lost is given up.
        """
        return [batch for batch in self._open.values() if not batch.waits and self._is_lost(batch, now)]

    def why_stuck(self, now: float) -> str:
        """Return why nothing will come back any more, for a person to read; empty if something may.

        Rule of the protocol: nothing is waited for behind a computation that hangs.
        """
        oldest, why = self.oldest, self._why_stuck(now)
        if oldest is None or not why:
            return ""
        return (
            f"batch {oldest.route.batch} has not come back after {now - oldest.sent:.1f} s (time_limit is "
            f"{self._limit:g} s), nor has any other for {now - self._last_back:.1f} s: {why}"
        )

    def _why_stuck(self, now: float) -> str:
        self._silence += min(now - self._checked, 1.0)  # it is checked at least once per second
        self._now = self._checked = now
        if self._open and now - self._last_back > self._limit:
            for sign, _ in self._signs.values():
                for batch, _, seconds in sign.in_hand:
                    if seconds > self._limit:
                        what = f"{sign.actor.name} has been computing batch {batch} for {seconds:.1f} s"
                        return f"{what}, so it is slow, or hangs. Raise time_limit if it needs longer"
            if len(self.lost(now)) == len(self._open):
                return f"no gate has it, so it was lost on its way each time that it was sent. {CONNECTION}"
        if self._open and self._silence > max(TO_BEGIN, self._limit):
            return f"no gate has sent a sign of life for {self._silence:.1f} s. {CONNECTION}"
        return ""

    def new_term(self, term: int, blame: BatchId | None) -> list[OpenBatch]:
        """Count a gate that ended against the batches that may be the cause; return those to be given up.

        All others wait to be sent again.

        Args:
            term: its number.
            blame: the batch that is known to be the cause; None if that is not known.
        """
        self.term = term
        self._signs.clear()
        self._last_back, self._silence = self._now, 0.0
        for batch in self._open.values():
            # A batch that waits was at no gate, so it cannot be the cause. If the cause is not known, any other may be.
            if not batch.waits and blame in (None, batch.route.batch):
                batch.strikes += 1
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

    def _is_lost(self, batch: OpenBatch, now: float) -> bool:
        limit = self._limit if batch.begun else max(TO_BEGIN, self._limit)
        return now - batch.seen > limit and self._is_missing(batch, 1)

    def _is_missing(self, batch: OpenBatch, patience: int) -> bool:
        """Whether every gate has said twice that it does not have a batch, and no other said meanwhile that it does.

        In between lies some time, since it may be on its way.

        Rule of the protocol: what somebody has in hand is not sent again.
        """
        if len(batch.missed) < self.gates:
            return False
        usual = STRETCHES * self._stretch or min(FIRST_PATIENCE, self._limit)
        least = patience * max(LEAST_PATIENCE, usual)
        return all(self._signs[gate][1] - since >= least for gate, since in batch.missed.items())

    def _is_latest_attempt(self, batch: OpenBatch, route: Route) -> bool:
        """Rule of the protocol: only the latest attempt of a batch counts."""
        return batch.route.attempt == route.attempt

    def _is_of_this_term(self, route: Route) -> bool:
        """Rule of the protocol: what was sent in an earlier term does not count."""
        return route.term == self.term
