"""Runs a training sentinel: outputs become gradients."""

import logging
import math
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from akkordeon.actor import Context
from akkordeon.messages.batches import NON_FINITE, Backward, Forward
from akkordeon.messages.tree import Tree, flatten
from akkordeon.sentinel.actor import SentinelActor
from akkordeon.sentinel.in_flight import OpenBatch
from akkordeon.sentinel.loss import NO_GAUGES
from akkordeon.tensors import all_finite

logger = logging.getLogger(__name__)

MOST_NON_FINITE = 10
"""Batches in a row with a non-finite loss or gradient, after which the sentinel fails."""


class TrainingActor(SentinelActor):
    """Sends without a pause between epochs, and a gradient back for each output."""

    sends: ClassVar = Forward
    _non_finite_in_a_row = 0

    @override
    def take_output(self, batch: OpenBatch, output: Tree, context: Context) -> None:
        """Send the gradient of the loss back, or nothing where there is none to learn from."""
        assert self.chain is not None
        self.chain.last.tell(Backward(batch.route, self._gradients(batch, output)))

    @override
    def take_back(self, batch: OpenBatch, trail: tuple[int | str, ...], context: Context) -> None:
        if batch.figures is not None:
            batch.epoch.count(batch.figures, batch.route.size)
        if self.error is None:
            self._check_finite(batch, trail)
        self.done(batch, trail, context)

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
            logger.warning("%s; the batch is skipped", _diagnosis(batch, figures["loss"]))
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
            last = "its gradient is not finite" if batch.figures else _diagnosis(batch, math.nan)
            self.fail(f"{MOST_NON_FINITE} batches in a row could not be learned from; the last one: {last}")


def _diagnosis(batch: OpenBatch, loss: float) -> str:
    finite = all_finite(leaf for leaf in flatten(batch.x)[0] if leaf.is_floating_point())
    cause = (
        "its input is finite, so the network has diverged: lower the learning rate, or clip the gradients"
        if finite
        else "its input holds NaN or infinity: check what the loader yields"
    )
    return f"batch {batch.route.batch} has a loss of {loss}; {cause}"
