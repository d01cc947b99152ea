"""The life of a sentinel: draw, send, take the output, count, report, leave.

A batch is open from the moment it is sent until it is back. At most `in_flight` are; that window is the only
back-pressure in a network. Every batch ends: it comes back, is refused, or is lost after the time limit.
"""

import logging
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from akkordeon.actor import Actor, Context, Ended, Ref
from akkordeon.data import as_pair, num_samples
from akkordeon.errors import BatchLost, SentinelFailed
from akkordeon.events import Report
from akkordeon.judge import Judge
from akkordeon.ledger import Epoch, Ledger
from akkordeon.messages import Backward, BatchId, Forward, Refused, Route, Validate
from akkordeon.provider import Provider, Shelf
from akkordeon.sentinel import Sentinel
from akkordeon.signals import (
    Abort,
    Chain,
    Drain,
    Draw,
    DrawFailed,
    Drawn,
    Exhausted,
    GoOn,
    Held,
    Hold,
    Left,
    Position,
    Start,
    StatusOf,
)
from akkordeon.tree import Tree

__all__ = ["OpenBatch", "SentinelActor"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class OpenBatch:
    """A batch that is out; its figures are known once its output came."""

    route: Route
    epoch: Epoch
    x: Tree
    target: Tree
    sent: float
    figures: Mapping[str, float] | None = None


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
        chain: where batches go.
        conductor: who gets reports.
        network: name of the network, for the ids of batches.
        incarnation: tells sentinels of one name apart.
        position: where to begin in the data; None is at the beginning.
    """

    def __init__(
        self,
        sentinel: Sentinel,
        chain: Chain,
        conductor: Ref,
        network: str,
        incarnation: int,
        position: Position | None = None,
    ) -> None:
        self.sentinel = sentinel
        self.chain = chain
        self.judge = Judge(sentinel.loss, sentinel.metrics)
        self.ledger = Ledger(sentinel.name, sentinel.kind, tuple(sentinel.metrics), chain.gates, self.judge.gauges)
        self.open: dict[int, OpenBatch] = {}
        self.leaving = False
        self.error: Exception | None = None
        self.exhausted = 0
        self._conductor = conductor
        self._network = network
        self._incarnation = incarnation
        self._shelf = Shelf(max(4, 2 * sentinel.in_flight))
        self._seq = 0
        self._left = False
        self._ticking = False
        self._provider: Ref | None = None
        self._position = position  # until the first batch is sent
        self._hold: Hold | None = None
        self._told = False

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
    def send(self, batch: OpenBatch) -> None:
        """Send a batch to the first gate."""

    @abstractmethod
    def take_output(self, batch: OpenBatch, output: Tree, context: Context) -> None:
        """Do something with what the last gate yields."""

    @abstractmethod
    def take_back(self, batch: OpenBatch, trail: tuple[int | str, ...], context: Context) -> None:
        """Do something with a batch that is through."""

    def handle_own(self, message: object, context: Context) -> None:
        """Handle messages that only this kind knows."""

    # What all do

    def receive(self, message: object, context: Context) -> object:
        """Handle what provider, gates and conductor send."""
        match message:
            case Forward(route, x) | Validate(route, x):
                if (batch := self.open.get(route.batch.seq)) is not None:
                    self.take_output(batch, x, context)
            case Backward(route, _, trail):
                if (batch := self.open.get(route.batch.seq)) is not None:
                    self.take_back(batch, trail, context)
            case Drawn() | Exhausted() | DrawFailed():
                self._take_answer(message, context)
            case StatusOf():
                sentinel, length = self.sentinel, self._shelf.length
                return self.ledger.status(
                    sentinel.last_epoch, length, len(self.open), context.now(), draining=self.leaving
                )
            case _:
                self._handle_control(message, context)
        self._go_on(context)
        return None

    def _handle_control(self, message: object, context: Context) -> None:
        match message:
            case Start():
                self._start(context)
            case _Tick():
                self._check_time_limits(context)
            case Drain() | _Enough():
                self.leaving = True
            case Hold() | GoOn():
                self._hold, self._told = message if isinstance(message, Hold) else None, False
            case Refused():
                self.open.pop(message.route.batch.seq, None)
                self.fail(message.error)
            case Abort():
                self._leave(context)
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
        del self.open[batch.route.batch.seq]
        self.ledger.came_back(batch.epoch, trail)
        if batch.epoch.complete:
            self._close(batch.epoch, context)

    def _start(self, context: Context) -> None:
        sentinel = self.sentinel
        seed = sentinel.seed
        if seed is None:  # as far apart as names are, and the same in each run after torch.manual_seed
            seed = (torch.initial_seed() + zlib.crc32(sentinel.name.encode())) % 2**63
        if self._position is not None:
            self._take_up(self._position, context)
        make = partial(Provider, sentinel.data, context.me, sentinel.last_epoch, seed, self._position)
        name = f"provider {sentinel.name} {self._incarnation}"  # that of one before may not have ended yet
        self._provider = context.spawn(name, make, blocking=True)
        context.watch(self._provider, context.me)
        context.watch(context.me, self._provider)
        if sentinel.seconds is not None:
            context.tell_later(sentinel.seconds, _Enough())
        self.begin(context)

    def _take_up(self, position: Position, context: Context) -> None:
        """Go on where a sentinel of this name stood when it was saved."""
        last = self.sentinel.last_epoch
        if last is not None and position.epoch > last:
            self.leaving = True
        elif position.mark.exact:
            self.ledger.take_up(position, context.now())
        elif position.index:
            again = f"epoch {position.epoch} begins again, of which it had trained {position.index} batches"
            logger.warning("sentinel %r: its loader cannot tell where it stood, so %s", self.sentinel.name, again)

    def _place(self, context: Context) -> Position | None:
        """Return where it stands, with nothing in flight."""
        place = self._shelf.place()
        return self._position if place is None else self.ledger.position(*place, context.now())

    def _take_answer(self, answer: Drawn | Exhausted | DrawFailed, context: Context) -> None:
        self._shelf.answered(answer, context.now())
        match answer:
            case DrawFailed(error):
                self.fail(self.failure(f"its loader raised after batch {self._seq + len(self._shelf.ready)}", error))
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
        ready = self._shelf.ready
        while ready and len(self.open) < self.sentinel.in_flight and self._sends(ready[0].epoch):
            self._send(ready.popleft(), context)
        draws = self._provider is not None and not self.leaving and self.may_draw()
        if draws and (amount := self._shelf.order(context.now())):
            assert self._provider is not None
            self._provider.tell(Draw(amount))
        if self._hold is not None and not (self.open or self._told or self._left):
            self._told = True
            place = self._place(context)
            self._conductor.tell(Held(self.sentinel.name, self._incarnation, self._hold.pause, place))
        if self.leaving and not self.open:
            self._leave(context)
        elif not self._ticking and (self.open or self._shelf.waiting):
            self._ticking = True
            context.tell_later(self._tick, _Tick())

    def _sends(self, epoch: int) -> bool:
        return not self.leaving and self._hold is None and self.may_send(epoch)

    def _send(self, drawn: Drawn, context: Context) -> None:
        seq, self._seq = self._seq, self._seq + 1
        try:
            x, target = as_pair(drawn.item, with_target=self.sentinel.kind != "test")
            samples = num_samples(x, target)
        except TypeError as error:
            self.fail(self.failure(f"batch {seq} cannot be used", error))
            return
        low = next(iter(self.open), seq)
        batch_id = BatchId(self._network, self.sentinel.name, self._incarnation, seq)
        route = Route(batch_id, 1, low, context.me, samples)
        epoch = self.ledger.begin(drawn.epoch, context.now())
        batch = self.open[seq] = OpenBatch(route, epoch, x, target, context.now())
        self.send(batch)

    def _close(self, epoch: Epoch, context: Context) -> None:
        """Report on an epoch, and see whether it was the last."""
        try:
            report = self.ledger.close(epoch, context.now())
        except Exception as error:  # noqa: BLE001 - a metric may raise anything
            self.fail(self.failure(f"no figures for epoch {epoch.number}", error))
            return
        if epoch.complete and epoch.samples == 0 and self.sentinel.kind == "train":
            self.fail(self.failure(f"no batch of epoch {epoch.number} had a finite loss; check data and lr", None))
        self._conductor.tell(report)
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
        if self._left:
            return
        self._left = self.leaving = True
        position = None
        if self.sentinel.kind == "train":
            position = self._place(context)
            for epoch in self.ledger.under_way():
                if epoch.samples:
                    self._close(epoch, context)
        if self._provider is not None:
            context.stop(self._provider)
        self._conductor.tell(Left(self.sentinel.name, self._incarnation, self.error, position))

    # Time limits

    @property
    def _tick(self) -> float:
        return min(1.0, self.sentinel.time_limit / 4)

    def _check_time_limits(self, context: Context) -> None:
        self._ticking = False
        if self._left:
            return
        now, limit = context.now(), self.sentinel.time_limit
        oldest = next(iter(self.open.values()), None)
        if oldest is not None and now - oldest.sent > limit:
            self._lose(oldest, now - oldest.sent)
            self._leave(context)
        elif self._shelf.waiting and not self.open and not self.leaving and now - self._shelf.waiting_since > limit:
            remedy = "raise time_limit if it needs longer"
            self.fail(self.failure(f"its loader has yielded nothing for {limit:g} s; {remedy}", None))

    def _lose(self, batch: OpenBatch, age: float) -> None:
        self.fail(
            BatchLost(
                f"batch {batch.route.batch} has not come back after {age:.1f} s (time_limit is "
                f"{self.sentinel.time_limit:g} s): a gate is slow or has lost it. Raise time_limit if gates need longer"
            )
        )
