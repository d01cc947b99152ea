"""A validation or test sentinel that lives: passes through the data that change nothing."""

from dataclasses import dataclass

from akkordeon.actor import Context
from akkordeon.messages.batches import Validate
from akkordeon.messages.leases import Chain
from akkordeon.messages.tree import Tree
from akkordeon.sentinel.actor import SentinelActor
from akkordeon.sentinel.description import TestSentinel, ValidationSentinel
from akkordeon.sentinel.in_flight import OpenBatch


@dataclass(frozen=True, slots=True)
class _Due:
    """To itself: a pass should begin."""


class EvaluationActor(SentinelActor):
    """Makes one pass, or one every so many seconds; never two at once."""

    _passes = 0  # begun so far

    def begin(self, context: Context) -> None:
        """Begin the first pass, or wait for it."""
        every = self._every
        if every is None:
            self._passes = 1
        else:
            context.tell_later(every, _Due())

    def may_send(self, epoch: int) -> bool:
        """Send only what belongs to a pass that has begun."""
        return epoch <= self._passes

    def may_draw(self) -> bool:
        """Draw what the pass under way, or the first one, needs."""
        return self.exhausted < max(1, self._passes)

    def send(self, batch: OpenBatch, chain: Chain) -> None:
        """Send it for evaluation."""
        chain.first.tell(Validate(batch.route, batch.x))

    def take_output(self, batch: OpenBatch, output: Tree, context: Context) -> None:
        """Measure it; the batch is done."""
        if self.error is None:
            self._measure(batch, output)
        self.done(batch, (), context)

    def take_back(self, batch: OpenBatch, trail: tuple[int | str, ...], context: Context) -> None:
        """Ignore it: nothing comes back from an evaluation."""

    def handle_own(self, message: object, context: Context) -> None:
        """Begin a pass that is due, unless one is still running."""
        if isinstance(message, _Due) and self._every is not None and not self.leaving:
            context.tell_later(self._every, _Due())
            if running := self.ledger.under_way():
                running[0].skipped["due too early"] += 1
            else:
                self._passes += 1
                self.ledger.begin(self._passes, context.now())

    @property
    def _every(self) -> float | None:
        return self.sentinel.every if isinstance(self.sentinel, ValidationSentinel) else None

    def _measure(self, batch: OpenBatch, output: Tree) -> None:
        epoch, seq = batch.epoch, batch.route.batch.seq
        has_target = batch.target is not None or self.sentinel.kind == "validate"
        if not has_target:
            epoch.gauges = {}
        try:
            figures = self.judge.measure(output, batch.target, epoch.gauges) if has_target else {}
        except Exception as error:  # noqa: BLE001 - loss and metrics may raise anything
            self.fail(self.failure(f"no figures for batch {seq}", error))
            return
        epoch.count(figures, batch.route.size)
        if isinstance(self.sentinel, TestSentinel) and self.sentinel.outputs:
            epoch.outputs[seq] = output
