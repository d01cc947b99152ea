"""Runs a training sentinel: outputs become gradients, and gates are told when an epoch ends."""

import logging
import math
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from akkordeon.actor import Context
from akkordeon.messages.batches import NON_FINITE, Backward, Forward
from akkordeon.messages.leases import Chain
from akkordeon.messages.tree import Tree
from akkordeon.sentinel.actor import SentinelActor
from akkordeon.sentinel.diagnosis import diagnosis
from akkordeon.sentinel.epochs import Epoch
from akkordeon.sentinel.in_flight import OpenBatch
from akkordeon.sentinel.loss import NO_GAUGES

logger = logging.getLogger(__name__)

MOST_NON_FINITE = 10
"""Batches in a row with a non-finite loss or gradient, after which the sentinel fails."""

EPOCH_END = object()
"""In place of the input of a batch: what is in flight tells the gates that all batches of an epoch are through."""


class TrainingActor(SentinelActor):
    """Sends without a pause between epochs, and a gradient back for each output."""

    sends: ClassVar = Forward
    _non_finite_in_a_row = 0
    _why = "check the data and the learning rate"  # the latest loss that was not finite was so

    @override
    def take_output(self, batch: OpenBatch, output: Tree, context: Context) -> None:
        """Send the gradient of the loss back, or nothing where there is none to learn from."""
        assert self.chain is not None
        began, tracer = context.now(), self.epochs.tracer
        gradients = self._gradients(batch, output)
        if tracer.on:
            tracer.note("loss", batch.route, began, context.now())
        self.chain.last.tell(Backward(batch.route, gradients))

    @override
    def take_back(self, batch: OpenBatch, trail: tuple[int | str, ...], context: Context) -> None:
        if batch.x is EPOCH_END:
            self.epochs.done -= 1  # it is no batch
        else:
            if batch.figures is not None:
                batch.epoch.count(batch.figures, batch.route.size)
                if self.epochs.losses is not None:
                    self.epochs.losses.append((self.epochs.done + 1, batch.figures["loss"]))
            if self.error is None:
                self._check_finite(batch, trail)
        self.done(batch, trail, context)

    @override
    def end(self, epoch: Epoch, context: Context) -> None:
        """Tell the gates that an epoch is over, where one of them accumulates; then report on it."""
        if not epoch.complete:
            return
        if not epoch.figures:
            self.fail(f"no batch of epoch {epoch.number} had a finite loss; {self._why}")
        accumulates = self._orders is not None and self._orders.accumulates
        if epoch.ending or self.error is not None or not accumulates:
            super().end(epoch, context)
            return
        epoch.ending, epoch.batches = True, epoch.done + 1
        batch = self.note(epoch, EPOCH_END, None, 0, context)
        if self.chain is None:
            batch.waits = True
        else:
            self.send(batch, self.chain)

    @override
    def send(self, batch: OpenBatch, chain: Chain) -> None:
        if batch.x is EPOCH_END:
            chain.last.tell(Backward(batch.route, (), ends_epoch=True))
        else:
            super().send(batch, chain)

    def _gradients(self, batch: OpenBatch, output: Tree) -> tuple[Tensor | None, ...]:
        if self.error is not None:
            return ()
        # Gauges have taken in an earlier attempt that came as far as this, and must not take a batch in twice.
        gauges = batch.epoch.gauges if batch.figures is None else NO_GAUGES
        try:
            figures, gradients = self.loss_and_metrics.learn(output, batch.target, gauges)
        except Exception as error:  # noqa: BLE001 - loss and metrics may raise anything
            self.fail(f"no loss for batch {batch.route.batch.seq}", error)
            return ()
        if not math.isfinite(figures["loss"]):
            self._why = diagnosis(batch.x, output, batch.target)
            logger.warning(
                "batch %s has a loss of %s; %s; the batch is skipped", batch.route.batch, figures["loss"], self._why
            )
            return ()
        batch.figures = figures
        return gradients

    def _check_finite(self, batch: OpenBatch, trail: tuple[int | str, ...]) -> None:
        """Fail where nothing was learned from many batches in a row, which will not become better."""
        if batch.figures is None:
            batch.epoch.skipped["non-finite loss"] += 1
        elif NON_FINITE not in trail:
            self._non_finite_in_a_row = 0
            return
        self._non_finite_in_a_row += 1
        if self._non_finite_in_a_row == MOST_NON_FINITE:
            last = "its gradient is not finite" if batch.figures else f"its loss is not finite; {self._why}"
            self.fail(f"{MOST_NON_FINITE} batches in a row could not be learned from; the last one: {last}")
