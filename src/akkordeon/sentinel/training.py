"""A training sentinel that lives: outputs become gradients."""

import logging
import math

from torch import Tensor

from akkordeon.actor import Context
from akkordeon.messages.batches import NON_FINITE, Backward, Forward
from akkordeon.messages.leases import Chain, Orders
from akkordeon.messages.reports import Adjustment
from akkordeon.messages.tree import Tree, flatten
from akkordeon.sentinel.actor import SentinelActor
from akkordeon.sentinel.auto_window import AutoWindow, Change
from akkordeon.sentinel.in_flight import OpenBatch
from akkordeon.sentinel.loss import NO_GAUGES
from akkordeon.tensors import all_finite

logger = logging.getLogger(__name__)

PATIENCE = 10
"""Batches in a row with a non-finite loss or gradient, after which the sentinel fails."""


class TrainingActor(SentinelActor):
    """Sends without a pause between epochs, and a gradient back for each output."""

    _bad_in_a_row = 0
    _auto: AutoWindow | None = None

    def begin(self, context: Context) -> None:
        """Wait for nothing."""

    def may_send(self, epoch: int) -> bool:  # noqa: ARG002
        """Make no pause between epochs."""
        return True

    def may_draw(self) -> bool:
        """Draw on; the provider knows the last epoch."""
        return True

    def send(self, batch: OpenBatch, chain: Chain) -> None:
        """Send it forward."""
        chain.first.tell(Forward(batch.route, batch.x))

    def take_output(self, batch: OpenBatch, output: Tree, context: Context) -> None:  # noqa: ARG002
        """Send the gradient of the loss back, or nothing where there is none to learn from."""
        assert self.chain is not None
        again = batch.figures is not None  # gauges have taken an earlier attempt in
        self.chain.last.tell(Backward(batch.route, self._gradients(batch, output, again=again)))

    def take_back(self, batch: OpenBatch, trail: tuple[int | str, ...], context: Context) -> None:
        """Count it."""
        if batch.figures is not None:
            batch.epoch.count(batch.figures, batch.route.size)
        elif self.error is None:
            batch.epoch.skipped["non-finite loss"] += 1
        if self.error is None:
            self._watch_non_finite(batch, trail)
        out = len(self.outbox)
        self.done(batch, trail, context)
        if self._auto is not None:
            self._look_for_window(self._auto, batch, out, context)

    # The window, where it is to be found out

    def take_orders(self, orders: Orders) -> None:
        """Begin, or cease, to find out how many batches to have out; see what is granted."""
        if not orders.auto:
            self._auto = None
        elif self._auto is None:
            self._auto = AutoWindow(orders.window)
        else:
            self._tell(self._auto.limit(orders.window))

    @property
    def window(self) -> int:
        """How many batches it may have out."""
        return super().window if self._auto is None else self._auto.window

    @property
    def reason(self) -> str:
        """Why its window is what it is, where it has found that out."""
        return "" if self._auto is None else self._auto.reason

    def _look_for_window(self, auto: AutoWindow, batch: OpenBatch, out: int, context: Context) -> None:
        if self.is_held or self.leaving or batch.route.attempt > 1:
            auto.interrupt()
        else:
            self._tell(auto.came_back(context.now(), out))
            self.supply.widen(auto.window)

    def _tell(self, change: Change | None) -> None:
        if change is not None:
            self.conductor.tell(Adjustment(self.sentinel.name, change.before, change.window, change.reason))

    # Learning

    def _gradients(self, batch: OpenBatch, output: Tree, *, again: bool) -> tuple[Tensor | None, ...]:
        if self.error is not None:
            return ()
        try:
            figures, gradients = self.judge.learn(output, batch.target, NO_GAUGES if again else batch.epoch.gauges)
        except Exception as error:  # noqa: BLE001 - loss and metrics may raise anything
            self.fail(self.failure(f"no loss for batch {batch.route.batch.seq}", error))
            return ()
        if not math.isfinite(figures["loss"]):
            logger.warning("%s; the batch is skipped", self._diagnosis(batch, figures["loss"]))
            return ()
        batch.figures = figures
        return gradients

    def _watch_non_finite(self, batch: OpenBatch, trail: tuple[int | str, ...]) -> None:
        if batch.figures is not None and NON_FINITE not in trail:
            self._bad_in_a_row = 0
            return
        self._bad_in_a_row += 1
        if self._bad_in_a_row == PATIENCE:
            last = "its gradient is not finite" if batch.figures else self._diagnosis(batch, math.nan)
            self.fail(
                self.failure(f"{PATIENCE} batches in a row could not be learned from; the last one: {last}", None)
            )

    def _diagnosis(self, batch: OpenBatch, loss: float) -> str:
        finite = all_finite(leaf for leaf in flatten(batch.x)[0] if leaf.is_floating_point())
        cause = (
            "its input is finite, so the network has diverged: lower the learning rate, or clip the gradients"
            if finite
            else "its input holds NaN or infinity: check what the loader yields"
        )
        return f"batch {batch.route.batch} has a loss of {loss}; {cause}"
