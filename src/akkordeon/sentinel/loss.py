"""Computes loss and metrics of one batch, and the gradient of the loss with respect to the network's output."""

import copy
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from akkordeon.messages.tree import Tree, describe, flatten, rebuild
from akkordeon.sentinel.metrics import Gauge, Gauges, Metrics
from akkordeon.tensors import differentiate, to_device

Loss = Callable[[Tree, Tree], Tensor]
"""Takes the network's output and the target of a batch; returns the mean over its samples, a scalar tensor."""

NO_GAUGES: Gauges = MappingProxyType({})
"""Where no metric is to take a batch in."""


class LossAndMetrics:
    """Takes outputs and targets, returns figures: the loss under the name "loss", and the metrics under their own.

    Args:
        loss: the mean over a batch, a scalar; None where only metrics are measured.
        metrics: by name.
    """

    def __init__(self, loss: Loss | None, metrics: Metrics) -> None:
        self._loss = loss
        self._gauges = {name: metric for name, metric in metrics.items() if isinstance(metric, Gauge)}
        self._means = {name: metric for name, metric in metrics.items() if name not in self._gauges}

    def gauges(self) -> Gauges:
        """Return new copies of those metrics that are gauges, for an epoch that begins."""
        fresh = copy.deepcopy(self._gauges)
        for gauge in fresh.values():
            gauge.reset()
            if isinstance(gauge, nn.Module) and hasattr(gauge, "persistent"):
                # A metric of torchmetrics: only then does its state dict hold what it took in.
                persistent: Any = gauge.persistent
                persistent(mode=True)
        return fresh

    def learn(
        self, output: Tree, target: Tree, gauges: Gauges = NO_GAUGES
    ) -> tuple[dict[str, float], tuple[Tensor | None, ...]]:
        """Return figures, and the gradient of the loss for each tensor of the output, None where there is none.

        Args:
            output: of the network, of any shapes.
            target: that the sentinel kept; moved to the output's device.
            gauges: of the batch's epoch; they take the batch in.

        Raises:
            TypeError: the loss is not one number, or does not depend on the output.
            Exception: anything that loss or metrics raise, with a note that says which of them.
        """
        leaves, structure = flatten(output)
        leaves = [leaf.detach().requires_grad_(leaf.is_floating_point() or leaf.is_complex()) for leaf in leaves]
        target = _beside(leaves, target)
        value = self._value(rebuild(structure, leaves), target)
        if not value.requires_grad:
            raise TypeError(
                "the loss does not depend on the network's output in a way that has a gradient; "
                "compute it from the output with differentiable operations"
            )
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(differentiate([value], wanted, [torch.ones_like(value)]))
        gradients = tuple(next(found) if leaf.requires_grad else None for leaf in leaves)
        figures = {"loss": float(value.item())}
        if (self._means or gauges) and math.isfinite(figures["loss"]):
            figures |= self._others(output, target, gauges)
        return figures, gradients

    @torch.no_grad()
    def measure(self, output: Tree, target: Tree, gauges: Gauges = NO_GAUGES) -> Mapping[str, float]:
        """Return the figures alone.

        Args and Raises: as for `learn`.
        """
        target = _beside(flatten(output)[0], target)
        figures = {} if self._loss is None else {"loss": float(self._value(output, target))}
        return figures | self._others(output, target, gauges)

    def _value(self, output: Tree, target: Tree) -> Tensor:
        assert self._loss is not None
        try:
            value = self._loss(output, target)
        except Exception as error:
            error.add_note("raised by the loss")
            raise
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise TypeError(
                f"the loss must be one number, the mean over the batch, not {describe(value)}; "
                "reduce it, as with .mean()"
            )
        return value.squeeze() if value.dim() else value

    @torch.no_grad()
    def _others(self, output: Tree, target: Tree, gauges: Gauges) -> dict[str, float]:
        figures = {}
        for name, metric in (*self._means.items(), *gauges.items()):
            try:
                if isinstance(metric, Gauge):
                    _take_in(metric, output, target)
                else:
                    figures[name] = float(metric(output, target))
            except Exception as error:
                error.add_note(f"raised by the metric {name!r}")
                raise
        return figures


def _take_in(gauge: Gauge, output: Tree, target: Tree) -> None:
    if isinstance(gauge, nn.Module):  # a metric of torchmetrics, whose state must be on the batch's device
        for leaf in flatten(output)[0][:1]:
            gauge.to(leaf.device)
    gauge.update(output, target)


def _beside(leaves: list[Tensor], target: Tree) -> Tree:
    """Put the target on the device where the output is."""
    return to_device(target, leaves[0].device) if leaves else target
