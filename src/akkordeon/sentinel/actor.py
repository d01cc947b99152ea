"""Runs a sentinel: draws batches, sends them, takes outputs, counts, reports, leaves.

A batch is in flight from the moment it is sent until it is back. At most `window.size` are; that window is the only
back-pressure in a network. Every batch ends: it comes back, or is given up and counted (`InFlight`).

What an output is good for, and when a pass through the data begins, is up to `TrainingActor` and `EvaluationActor`.
"""

import logging
from abc import abstractmethod
from dataclasses import dataclass
from math import inf
from typing import ClassVar

from typing_extensions import override

from akkordeon.actor import Actor, Context, Ended, Ref
from akkordeon.errors import BatchLost, SentinelFailed
from akkordeon.messages.batches import Backward, BatchId, Forward, Refused, Validate
from akkordeon.messages.leases import Alive, Chain, Held, Left, Orders
from akkordeon.messages.reports import Adjustment, Observe, SentinelStatus
from akkordeon.messages.states import Position, StatusOf
from akkordeon.messages.tree import Tree
from akkordeon.sentinel.auto_window import Change
from akkordeon.sentinel.batch import as_pair, num_samples
from akkordeon.sentinel.description import Sentinel
from akkordeon.sentinel.epochs import Epoch, Epochs
from akkordeon.sentinel.in_flight import InFlight, OpenBatch
from akkordeon.sentinel.loss import LossAndMetrics
from akkordeon.sentinel.prefetch import Prefetch
from akkordeon.sentinel.provider import DrawFailed, Drawn, Exhausted
from akkordeon.sentinel.window import SendWindow

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Tick:
    """To itself, periodically while there is something to wait for: look at the time limits."""


@dataclass(frozen=True, slots=True)
class _TimeIsUp:
    """To itself: the `seconds` of its description are over."""


class SentinelActor(Actor):
    """A sentinel that lives.

    Args:
        sentinel: describes it.
        conductor: who gets reports.
        network: name of the network, for the ids of batches.
        incarnation: tells sentinels of one name apart.
        position: where to begin in the data; None is the first batch of the first epoch.

    Attributes:
        sends: the message that a batch goes out in.
        passes: how many passes through the data have begun; only their batches are drawn and sent.
    """

    sends: ClassVar[type[Forward] | type[Validate]]

    def __init__(
        self, sentinel: Sentinel, conductor: Ref, network: str, incarnation: int, position: Position | None = None
    ) -> None:
        self.sentinel = sentinel
        self.loss_and_metrics = LossAndMetrics(sentinel.loss, sentinel.metrics)
        self.in_flight = InFlight(sentinel.time_limit)
        self.epochs = Epochs(sentinel, self.loss_and_metrics.gauges)
        self.prefetch = Prefetch(sentinel, incarnation, position)
        self.window = SendWindow()
        self.chain: Chain | None = None
        self.passes: float = inf
        self.leaving = False
        self.error: Exception | None = None
        self._conductor = conductor
        self._network = network
        self._incarnation = incarnation
        self._orders: Orders | None = None
        self._heartbeats = 0
        self._seq = 0
        self._exhausted = 0
        self._left: Left | None = None
        self._ticking = self._held = False

    @abstractmethod
    def take_output(self, batch: OpenBatch, output: Tree, context: Context) -> None:
        """Use what the last gate yields."""

    def take_back(self, batch: OpenBatch, trail: tuple[int | str, ...], context: Context) -> None:
        """Finish a batch whose gradient has passed all gates."""

    def begin(self, context: Context) -> None:
        """Set timers."""

    def control(self, message: object, context: Context) -> None:
        """Handle a message that is about no batch."""
        match message:
            case Alive():
                self.in_flight.saw(message, context.now())
            case Observe():
                message.reader.tell(self._status(context))
                self.epochs.observed(message)
            case Orders() if self._is_news(message):
                self._obey(message, context)
            case _Tick():
                self._check_time_limits(context)
            case _TimeIsUp():
                self.leaving = True
            case Ended():
                self.fail("its provider ended", message.reason)

    @override
    def receive(self, message: object, context: Context) -> object:
        match message:
            case Forward(route, x) | Validate(route, x):
                if (batch := self.in_flight.find(route, context.now())) is not None:
                    self.take_output(batch, x, context)
            case Backward(route, _, trail):
                if (batch := self.in_flight.find(route, context.now())) is not None:
                    self.take_back(batch, trail, context)
            case Refused(route, error):
                if (batch := self.in_flight.find(route, context.now())) is not None:
                    self._fail(error)
                    self._give_up(batch, "refused", context)
            case Drawn() | Exhausted() | DrawFailed():
                self._take_answer(message, context)
            case StatusOf():
                return self._status(context)
            case _:
                self.control(message, context)
        self._go_on(context)
        return None

    def fail(self, what: str, cause: BaseException | None = None) -> None:
        """Remember the first thing that went wrong, and leave as soon as nothing is in flight."""
        text = f"sentinel {self.sentinel.name!r}: {what}"
        if cause is not None:
            notes = "".join(f" ({note})" for note in getattr(cause, "__notes__", ()))
            text += f": {type(cause).__name__}: {cause}{notes}"
        error = SentinelFailed(text)
        error.__cause__ = cause
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.error = self.error or error
        self.leaving = True

    def done(self, batch: OpenBatch, trail: tuple[int | str, ...], context: Context) -> None:
        """Count a batch that came back, and report on its epoch if that is complete."""
        now, out = context.now(), len(self.in_flight)
        self.in_flight.came_back(batch, now)
        self.epochs.came_back(batch.epoch, trail)
        self.end(batch.epoch, context)
        if (auto := self.window.auto) is not None:
            if self._is_held or self.leaving or batch.route.attempt > 1:
                auto.interrupt()  # not only the window limited how many were in flight
            else:
                self._adjust(auto.came_back(now, out))

    def _give_up(self, batch: OpenBatch, reason: str, context: Context) -> None:
        self.in_flight.give_up(batch, reason)
        self.epochs.given_up(batch.epoch, reason)
        self.end(batch.epoch, context)

    def end(self, epoch: Epoch, context: Context) -> None:
        """Report on an epoch, if it is complete."""
        if epoch.complete:
            self._close(epoch, context.now())

    def _close(self, epoch: Epoch, now: float) -> None:
        """Report on an epoch, and leave if it was the last."""
        try:
            report = self.epochs.close(epoch, now)
        except Exception as error:  # noqa: BLE001 - a metric may raise anything
            self.fail(f"no figures for epoch {epoch.number}", error)
            return
        self._conductor.tell(report)
        try:
            self.leaving = self.epochs.is_last(report) or self.leaving
        except Exception as error:  # noqa: BLE001 - the user's function may raise anything
            self.fail("its `until` raised", error)

    def _is_news(self, orders: Orders) -> bool:
        """Rule of the protocol: a sentinel keeps to the newest orders."""
        return self._orders is None or orders.number > self._orders.number

    def _obey(self, orders: Orders, context: Context) -> None:
        first, self._orders = self._orders is None, orders
        self._conductor = orders.conductor
        self._held = False
        self._heartbeats += 1
        moved = self.epochs.done + self.in_flight.resent
        self._conductor.tell(Alive(context.me, self._heartbeats, orders.term, moved, self.look(context.now())))
        if first:
            if self.prefetch.resume(self.epochs, context.now()):
                self.leaving = True
            self.prefetch.begin(context)
            if self.sentinel.seconds is not None:
                context.tell_later(self.sentinel.seconds, _TimeIsUp())
            self.begin(context)
        self._adjust(self.window.obey(orders))
        if orders.term > self.in_flight.term:
            self._begin_term(orders, context)
        if orders.chain is not None:
            self.chain, self.epochs.gates = orders.chain, orders.chain.gates
            self.in_flight.gates = len(orders.chain.gates)
        if self._left is not None:
            self._conductor.tell(self._left)  # once more: the first one was lost
        elif orders.cause is not None:
            self._leave(context)
        self.leaving = self.leaving or orders.leave

    def _begin_term(self, orders: Orders, context: Context) -> None:
        """A gate was replaced: what is in flight will be sent again as soon as there is a chain."""
        self.chain = None
        for batch in self.in_flight.new_term(orders.term, orders.blame):
            logger.warning("batch %s is dropped: gates ended %d times with it", batch.route.batch, batch.strikes)
            self._give_up(batch, "poison", context)

    def _adjust(self, change: Change | None) -> None:
        if change is not None:
            self._conductor.tell(Adjustment(self.sentinel.name, change.before, change.window, change.reason))
        self.prefetch.widen(self.window.size)

    def _take_answer(self, answer: Drawn | Exhausted | DrawFailed, context: Context) -> None:
        self.prefetch.answered(answer, context.now())
        match answer:
            case DrawFailed(error):
                self.fail(f"its loader raised after batch {self._seq + len(self.prefetch.ready)}", error)
            case Exhausted(epoch, 0):
                self.fail(f"its loader yielded no batch in epoch {epoch}; it must yield some each time it is iterated")
            case Exhausted():
                self._exhausted += 1
                ended = self.epochs.epoch(answer.epoch)
                ended.batches = answer.batches
                self.end(ended, context)

    def _go_on(self, context: Context) -> None:
        """Send what may be sent, request more, and leave when there is nothing left to do."""
        if self.chain is not None and self._left is None:
            self._send(self.chain, context)
        if not self.leaving and self._exhausted < max(1, self.passes):
            self.prefetch.request(context.now())
        if self.prefetch.starves or not self.prefetch.ready:
            may = self.chain is not None and self._may_send(self.prefetch.next_epoch)
            self.prefetch.starve(context, starves=may and len(self.in_flight) < self.window.size)
        pause = None if self._orders is None else self._orders.pause
        if pause is not None and not (self.in_flight or self._held or self._left):
            self._held = True
            self._conductor.tell(Held(context.me, pause, self.prefetch.position(self.epochs, context.now())))
        if self.leaving and not self.in_flight:
            self._leave(context)
        elif not self._ticking and (self.in_flight or self.prefetch.is_waiting):
            self._ticking = True
            context.tell_later(min(1.0, self.sentinel.time_limit / 4), _Tick())

    def _send(self, chain: Chain, context: Context) -> None:
        """Send batches that go once more, then, if none of these is left, new ones while the window has room."""
        while (again := self.in_flight.next_waiting()) is not None:
            self._send_again(again, chain, context)
        ready = self.prefetch.ready
        while ready and len(self.in_flight) < self.window.size and self._may_send(ready[0].epoch):
            if (batch := self._open(ready.popleft(), context)) is not None:
                self.send(batch, chain)

    def send(self, batch: OpenBatch, chain: Chain) -> None:
        """Send an attempt of a batch."""
        chain.first.tell(self.sends(batch.route, batch.x))

    def _send_again(self, batch: OpenBatch, chain: Chain, context: Context) -> None:
        self.in_flight.again(batch, context.now())
        self.send(batch, chain)

    def _may_send(self, epoch: int) -> bool:
        return epoch <= self.passes and not (self.leaving or self._is_held or self.in_flight.is_waiting)

    @property
    def _is_held(self) -> bool:
        """Whether it may send nothing new for now."""
        return self._orders is None or self._orders.pause is not None

    def _open(self, drawn: Drawn, context: Context) -> OpenBatch | None:
        """Note that what was drawn is in flight; None where it is no batch."""
        try:
            x, target = as_pair(drawn.item, with_target=self.sentinel.kind != "test")
            size = num_samples(x, target, self.sentinel.size)
        except Exception as error:  # noqa: BLE001 - a mapping and `size` may raise anything
            self.fail(f"batch {self._seq} cannot be used", error)
            return None
        return self.note(self.epochs.begin(drawn.epoch, context.now()), x, target, size, context)

    def note(self, epoch: Epoch, x: Tree, target: object, size: int, context: Context) -> OpenBatch:
        """Note that a batch is in flight."""
        batch_id = BatchId(self._network, self.sentinel.name, self._incarnation, self._seq)
        self._seq += 1
        return self.in_flight.add(batch_id, context.me, size, context.now(), epoch=epoch, x=x, target=target)

    def _leave(self, context: Context) -> None:
        if self._left is not None:
            return
        self.leaving = True
        position, now = None, context.now()
        if self.sentinel.kind == "train":
            position = self.prefetch.position(self.epochs, now)
            for epoch in [each for each in self.epochs.under_way() if each.samples]:
                self._close(epoch, now)
        self.prefetch.stop(context)
        self._left = Left(context.me, self.error, position)
        self._conductor.tell(self._left)

    def _check_time_limits(self, context: Context) -> None:
        self._ticking = False
        if self._left is not None:
            return
        now, limit = context.now(), self.sentinel.time_limit
        if self.chain is not None:
            self._check_batches(self.chain, now, context)
        idle = self.prefetch.is_waiting and not self.in_flight and not self.leaving
        if idle and self.prefetch.waited(now) > limit:
            self.fail(f"its loader has yielded nothing for {limit:g} s; raise time_limit if it needs longer")

    def _check_batches(self, chain: Chain, now: float, context: Context) -> None:
        if text := self.in_flight.why_stuck(now):
            self._fail(BatchLost(text))
            self._leave(context)
            return
        for batch in self.in_flight.lost(now):
            logger.warning("batch %s is dropped: it has not come back", batch.route.batch)
            self._give_up(batch, "lost", context)
        for batch in self.in_flight.overdue(may_be_lost=context.loses_messages):
            self._send_again(batch, chain, context)

    @override
    def look(self, now: float) -> str:
        return self.in_flight.look(now) or ("" if self.leaving else self.prefetch.look(now))

    def _status(self, context: Context) -> SentinelStatus:
        return self.epochs.status(
            context.now(),
            in_flight=len(self.in_flight),
            draining=self.leaving,
            length=self.prefetch.length,
            window=self.window.size,
            reason=self.window.auto.reason if self.window.auto else "",
            resent=self.in_flight.resent,
            dropped=tuple(self.in_flight.given_up),
            waiting_for_data=self.prefetch.starved(context.now()),
        )
