"""The life of a sentinel: draw, send, take the output, count, report, leave.

A batch is open from the moment it is sent until it is back. At most `in_flight` are; that window is the only
back-pressure in a network. Every batch ends: it comes back, or is given up and counted (`InFlight`).
"""

import logging
from abc import abstractmethod
from dataclasses import dataclass, replace

from akkordeon.actor import Actor, Context, Ended, Ref
from akkordeon.errors import BatchLost, SentinelFailed
from akkordeon.messages.batches import Backward, BatchId, Forward, Refused, Validate
from akkordeon.messages.leases import Alive, Chain, Held, Left, Orders
from akkordeon.messages.reports import Report, SentinelStatus
from akkordeon.messages.states import Position, StatusOf
from akkordeon.messages.tree import Tree
from akkordeon.sentinel.batch import as_pair, num_samples
from akkordeon.sentinel.description import Sentinel
from akkordeon.sentinel.draws import DrawFailed, Drawn, Exhausted
from akkordeon.sentinel.epochs import Epoch, Epochs
from akkordeon.sentinel.in_flight import InFlight, OpenBatch
from akkordeon.sentinel.loss import LossAndMetrics
from akkordeon.sentinel.prefetch import Prefetch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Tick:
    """To itself, periodically while there is something to wait for: look at the time limits."""


@dataclass(frozen=True, slots=True)
class _Enough:
    """To itself: the seconds that it should go on for are over."""


class SentinelActor(Actor):
    """What all sentinels do; how they begin, and what they do with an output, is up to each kind.

    Args:
        sentinel: describes it.
        conductor: who gets reports.
        network: name of the network, for the ids of batches.
        incarnation: tells sentinels of one name apart.
        position: where to begin in the data; None is at the beginning.
    """

    def __init__(
        self, sentinel: Sentinel, conductor: Ref, network: str, incarnation: int, position: Position | None = None
    ) -> None:
        self.sentinel = sentinel
        self.judge = LossAndMetrics(sentinel.loss, sentinel.metrics)
        self.chain: Chain | None = None
        self.outbox = InFlight(sentinel.time_limit)
        self.ledger = Epochs(sentinel.name, sentinel.kind, tuple(sentinel.metrics), self.judge.gauges)
        self.supply = Prefetch(sentinel, incarnation, position)
        self.leaving = False
        self.error: Exception | None = None
        self.exhausted = 0
        self.conductor = conductor
        self._network = network
        self._incarnation = incarnation
        self._orders: Orders | None = None
        self._signs = 0
        self._seq = 0
        self._left: Left | None = None
        self._ticking = False
        self._held = False

    # What each kind does in its own way

    @abstractmethod
    def begin(self, context: Context) -> None:
        """Set timers, or begin a pass."""

    @abstractmethod
    def may_send(self, epoch: int) -> bool:
        """Whether batches of an epoch may be sent now."""

    @abstractmethod
    def may_draw(self) -> bool:
        """Whether more batches should be prepared."""

    @abstractmethod
    def send(self, batch: OpenBatch, chain: Chain) -> None:
        """Send a batch to the first gate."""

    @abstractmethod
    def take_output(self, batch: OpenBatch, output: Tree, context: Context) -> None:
        """Do something with what the last gate yields."""

    @abstractmethod
    def take_back(self, batch: OpenBatch, trail: tuple[int | str, ...], context: Context) -> None:
        """Do something with a batch that is through."""

    def take_orders(self, orders: Orders) -> None:
        """Look at what the conductor wants, besides what all do."""

    @property
    def reason(self) -> str:
        """Why its window is what it is, where it has found that out."""
        return ""

    def handle_own(self, message: object, context: Context) -> None:
        """Handle messages that only this kind knows."""

    # What all do

    def receive(self, message: object, context: Context) -> object:
        """Handle what provider, gates and conductor send."""
        match message:
            case Forward(route, x) | Validate(route, x):
                if (batch := self.outbox.find(route)) is not None:
                    self.take_output(batch, x, context)
            case Backward(route, _, trail):
                if (batch := self.outbox.find(route)) is not None:
                    self.take_back(batch, trail, context)
            case Refused(route, error):
                if (batch := self.outbox.find(route)) is not None:
                    self.fail(error)
                    self.drop(batch, "refused", context)
            case Drawn() | Exhausted() | DrawFailed():
                self._take_answer(message, context)
            case StatusOf():
                return self._status(context)
            case _:
                self._handle_control(message, context)
        self._go_on(context)
        return None

    def _handle_control(self, message: object, context: Context) -> None:
        match message:
            case Orders():
                if self._is_news(message):
                    self._obey(message, context)
            case _Tick():
                self._check_time_limits(context)
            case _Enough():
                self.leaving = True
            case Ended():
                self.fail(self.failure("its provider ended", message.reason))
            case _:
                self.handle_own(message, context)

    def failure(self, what: str, cause: BaseException | None) -> SentinelFailed:
        """Say what went wrong at this sentinel."""
        text = f"sentinel {self.sentinel.name!r}: {what}"
        if cause is not None:
            text += f": {type(cause).__name__}: {cause}"
            text += "".join(f" ({note})" for note in getattr(cause, "__notes__", ()))
        error = SentinelFailed(text)
        error.__cause__ = cause
        return error

    def fail(self, error: Exception) -> None:
        """Remember the first error, and leave as soon as nothing is in flight."""
        self.error = self.error or error
        self.leaving = True

    def done(self, batch: OpenBatch, trail: tuple[int | str, ...], context: Context) -> None:
        """Count a batch that came back, and report on its epoch if that is complete."""
        self.outbox.came_back(batch, context.now())
        self.ledger.came_back(batch.epoch, trail)
        if batch.epoch.complete:
            self._close(batch.epoch, context)

    def drop(self, batch: OpenBatch, reason: str, context: Context) -> None:
        """Give a batch up, and count it."""
        self.outbox.give_up(batch, reason)
        self.ledger.given_up(batch.epoch, reason)
        if batch.epoch.complete:
            self._close(batch.epoch, context)

    # What the conductor wants

    def _is_news(self, orders: Orders) -> bool:
        return self._orders is None or orders.number > self._orders.number

    def _obey(self, orders: Orders, context: Context) -> None:
        first, self._orders = self._orders is None, orders
        self.conductor = orders.conductor
        self._held = False
        self._signs += 1
        moved = self.ledger.done + self.outbox.resent
        self.conductor.tell(Alive(context.me, self._signs, orders.term, moved, self.look(context.now())))
        if first:
            self._start(context)
        self.take_orders(orders)
        self.supply.widen(self.window)
        if orders.term > self.outbox.term:
            self._begin_term(orders, context)
        if orders.chain is not None:
            self.chain, self.ledger.gates = orders.chain, orders.chain.gates
        if self._left is not None:
            self.conductor.tell(self._left)  # again: the first one was lost
        elif orders.cause is not None:
            self._leave(context)
        self.leaving = self.leaving or orders.leave

    def _begin_term(self, orders: Orders, context: Context) -> None:
        """A gate has been replaced: what is out is to be sent again, once there is a chain."""
        self.chain = None
        for batch in self.outbox.new_term(orders.term, orders.blame):
            logger.warning("batch %s is dropped: gates ended %d times with it", batch.route.batch, batch.strikes)
            self.drop(batch, "poison", context)

    def _start(self, context: Context) -> None:
        if self.supply.take_up(self.ledger, context.now()):
            self.leaving = True
        self.supply.begin(context)
        if self.sentinel.seconds is not None:
            context.tell_later(self.sentinel.seconds, _Enough())
        self.begin(context)

    def _take_answer(self, answer: Drawn | Exhausted | DrawFailed, context: Context) -> None:
        self.supply.answered(answer, context.now())
        match answer:
            case DrawFailed(error):
                self.fail(self.failure(f"its loader raised after batch {self._seq + len(self.supply.ready)}", error))
            case Exhausted(epoch, 0):
                remedy = "it must yield at least one batch, each time it is iterated"
                self.fail(self.failure(f"its loader yielded no batch in epoch {epoch}; {remedy}", None))
            case Exhausted():
                self.exhausted += 1
                ended = self.ledger.epoch(answer.epoch)
                ended.batches = answer.batches
                if ended.complete:
                    self._close(ended, context)

    def _go_on(self, context: Context) -> None:
        """Send what may be sent, ask for more, and leave when there is nothing left to do."""
        if self.chain is not None and self._left is None:
            self._send_what_may_be_sent(self.chain, context)
        if not self.leaving and self.may_draw():
            self.supply.order(context.now())
        pause = None if self._orders is None else self._orders.pause
        if pause is not None and not (self.outbox or self._held or self._left):
            self._held = True
            self.conductor.tell(Held(context.me, pause, self.supply.place(self.ledger, context.now())))
        if self.leaving and not self.outbox:
            self._leave(context)
        elif not self._ticking and (self.outbox or self.supply.waits):
            self._ticking = True
            context.tell_later(self._tick, _Tick())

    def _send_what_may_be_sent(self, chain: Chain, context: Context) -> None:
        while (batch := self.outbox.next_waiting()) is not None:
            self._send_again(batch, chain, context)
        ready = self.supply.ready
        while ready and len(self.outbox) < self.window and self._sends(ready[0].epoch):
            self._send(ready.popleft(), chain, context)

    def _sends(self, epoch: int) -> bool:
        return not (self.leaving or self.is_held or self.outbox.is_waiting) and self.may_send(epoch)

    @property
    def is_held(self) -> bool:
        """Whether it may send nothing new for now."""
        return self._orders is None or self._orders.pause is not None

    @property
    def window(self) -> int:
        """How many batches it may have out."""
        return 0 if self._orders is None else self._orders.window

    def _send(self, drawn: Drawn, chain: Chain, context: Context) -> None:
        seq, self._seq = self._seq, self._seq + 1
        try:
            x, target = as_pair(drawn.item, with_target=self.sentinel.kind != "test")
            samples = num_samples(x, target)
        except TypeError as error:
            self.fail(self.failure(f"batch {seq} cannot be used", error))
            return
        now = context.now()
        batch_id = BatchId(self._network, self.sentinel.name, self._incarnation, seq)
        epoch = self.ledger.begin(drawn.epoch, now)
        batch = self.outbox.add(batch_id, context.me, samples, now, epoch=epoch, x=x, target=target)
        self.send(batch, chain)

    def _send_again(self, batch: OpenBatch, chain: Chain, context: Context) -> None:
        self.outbox.again(batch, context.now())
        self.send(batch, chain)

    def _close(self, epoch: Epoch, context: Context) -> None:
        """Report on an epoch, and see whether it was the last."""
        try:
            report = self.ledger.close(epoch, context.now())
        except Exception as error:  # noqa: BLE001 - a metric may raise anything
            self.fail(self.failure(f"no figures for epoch {epoch.number}", error))
            return
        if epoch.complete and epoch.samples == 0 and self.sentinel.kind == "train":
            self.fail(self.failure(f"no batch of epoch {epoch.number} had a finite loss; check data and lr", None))
        self.conductor.tell(report)
        if self._is_last(report):
            self.leaving = True

    def _is_last(self, report: Report) -> bool:
        if report.epoch == self.sentinel.last_epoch:
            return True
        try:
            return self.sentinel.until is not None and bool(self.sentinel.until(report))
        except Exception as error:  # noqa: BLE001 - the user's function may raise anything
            self.fail(self.failure("its `until` raised", error))
            return True

    def _leave(self, context: Context) -> None:
        if self._left is not None:
            return
        self.leaving = True
        position = None
        if self.sentinel.kind == "train":
            position = self.supply.place(self.ledger, context.now())
            for epoch in self.ledger.under_way():
                if epoch.samples:
                    self._close(epoch, context)
        self.supply.stop(context)
        self._left = Left(context.me, self.error, position)
        self.conductor.tell(self._left)

    # Time limits, and how it stands

    @property
    def _tick(self) -> float:
        return min(1.0, self.sentinel.time_limit / 4)

    def _check_time_limits(self, context: Context) -> None:
        self._ticking = False
        if self._left is not None:
            return
        now, limit = context.now(), self.sentinel.time_limit
        if self.chain is not None:
            self._check_batches(self.chain, context)
        if self.supply.waits and not self.outbox and not self.leaving and self.supply.waited(now) > limit:
            remedy = "raise time_limit if it needs longer"
            self.fail(self.failure(f"its loader has yielded nothing for {limit:g} s; {remedy}", None))

    def _check_batches(self, chain: Chain, context: Context) -> None:
        now = context.now()
        for batch in self.outbox.lost(now):
            if self.outbox.is_stuck(batch):
                self.fail(self._lost(batch, now - batch.sent))
                self._leave(context)
                return
            logger.warning("batch %s is dropped: it has not come back", batch.route.batch)
            self.drop(batch, "lost", context)
        for batch in self.outbox.overdue(now):
            self._send_again(batch, chain, context)

    def _lost(self, batch: OpenBatch, age: float) -> BatchLost:
        return BatchLost(
            f"batch {batch.route.batch} has not come back after {age:.1f} s (time_limit is "
            f"{self.sentinel.time_limit:g} s), nor has any other since: a gate is slow, or hangs. "
            "Raise time_limit if gates need longer"
        )

    def look(self, now: float) -> str:
        """Say what the sentinel waits for."""
        oldest = self.outbox.oldest
        if oldest is not None:
            which = f"batch {oldest.route.batch}, attempt {oldest.route.attempt}"
            return f"has {len(self.outbox)} batches out; the oldest is {which}, for {now - oldest.sent:.1f} s"
        if self.supply.waits and not self.leaving:
            return f"waits for its loader since {self.supply.waited(now):.1f} s"
        return ""

    def _status(self, context: Context) -> SentinelStatus:
        status = self.ledger.status(self.sentinel.last_epoch, self.supply.length, context.now())
        return replace(
            status,
            in_flight=len(self.outbox),
            draining=self.leaving,
            window=self.window,
            reason=self.reason,
            resent=self.outbox.resent,
            dropped=tuple(self.outbox.given_up),
        )
