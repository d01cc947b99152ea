"""Runs a validation or test sentinel: makes passes through the data that change nothing."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from akkordeon.actor import Context
from akkordeon.messages.batches import Validate
from akkordeon.messages.tree import Tree
from akkordeon.sentinel.actor import SentinelActor
from akkordeon.sentinel.description import TestSentinel, ValidationSentinel
from akkordeon.sentinel.in_flight import OpenBatch


@dataclass(frozen=True, slots=True)
class _Due:
    """To itself: a pass should begin."""


class EvaluationActor(SentinelActor):
    """Makes one pass, or one every so many seconds; never two at once."""

    sends: ClassVar = Validate

    @override
    def begin(self, context: Context) -> None:
        every = self._every
        self.passes = 1 if every is None else 0
        if every is not None:
            context.tell_later(every, _Due())

    @override
    def control(self, message: object, context: Context) -> None:
        if not isinstance(message, _Due):
            super().control(message, context)
        elif self._every is not None and not self.leaving:
            context.tell_later(self._every, _Due())
            if running := self.epochs.under_way():
                running[0].skipped["due too early"] += 1
            else:
                self.passes += 1
                self.epochs.begin(int(self.passes), context.now())

    @override
    def take_output(self, batch: OpenBatch, output: Tree, context: Context) -> None:
        if self.error is None:
            self._measure(batch, output)
        self.done(batch, (), context)

    @property
    def _every(self) -> float | None:
        return self.sentinel.every if isinstance(self.sentinel, ValidationSentinel) else None

    def _measure(self, batch: OpenBatch, output: Tree) -> None:
        epoch, seq = batch.epoch, batch.route.batch.seq
        has_target = batch.target is not None or self.sentinel.kind == "validate"
        if not has_target:
            epoch.gauges = {}
        try:
            figures = self.loss_and_metrics.measure(output, batch.target, epoch.gauges) if has_target else {}
        except Exception as error:  # noqa: BLE001 - loss and metrics may raise anything
            self.fail(f"no figures for batch {seq}", error)
            return
        epoch.count(figures, batch.route.size)
        if isinstance(self.sentinel, TestSentinel) and self.sentinel.outputs:
            epoch.outputs[seq] = output
