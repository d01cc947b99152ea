"""Computes loss and metrics of one batch, and the gradient of the loss with respect to the network's output."""

import copy
import math
from collections.abc import Callable, Mapping, Set
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from akkordeon.messages.tree import Structure, Tree, describe, flatten, rebuild
from akkordeon.sentinel.batch import beside
from akkordeon.sentinel.metrics import Gauge, Gauges, Metrics
from akkordeon.tensors import differentiate, leaves_of_graph

Loss = Callable[[Tree, Any], Tensor]
"""Takes the network's output and the target of a batch; returns the mean over its samples, a scalar tensor."""

WRITES_INTO_LEAF = "leaf Variable that requires grad"
"""In torch's error where something would write into a leaf; nothing has been written then."""

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
        self._writes: dict[str, bool] = {}  # which of them write into the output, as their first batch shows

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
        self, output: Tree, target: object, gauges: Gauges = NO_GAUGES
    ) -> tuple[dict[str, float], tuple[Tensor | None, ...]]:
        """Return figures, and the gradient of the loss for each tensor of the output, None where there is none.

        Args:
            output: of the network, of any shapes; loss and metrics that write into it get tensors of their own.
            target: that the sentinel kept; its tensors are moved to the output's device.
            gauges: of the batch's epoch; they take the batch in.

        Raises:
            TypeError: the loss is not one number, does not depend on the output, or depends on more than that.
            Exception: anything that loss or metrics raise, with a note that says which of them.
        """
        leaves, structure = flatten(output)
        leaves = [leaf.detach().requires_grad_(leaf.is_floating_point() or leaf.is_complex()) for leaf in leaves]
        target = beside(leaves, target)
        value = self._value(leaves, structure, target)
        _check_graph(value, {id(target), *map(id, leaves)})
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(differentiate([value], wanted, [torch.ones_like(value)]))
        gradients = tuple(next(found) if leaf.requires_grad else None for leaf in leaves)
        figures = {"loss": float(value.item())}
        if (self._means or gauges) and math.isfinite(figures["loss"]):
            figures |= self._others(flatten(output)[0], structure, target, gauges)
        return figures, gradients

    @torch.no_grad()
    def measure(self, output: Tree, target: object, gauges: Gauges = NO_GAUGES) -> Mapping[str, float]:
        """Return the figures alone.

        Args and Raises: as for `learn`.
        """
        leaves, structure = flatten(output)
        target = beside(leaves, target)
        figures = {} if self._loss is None else {"loss": float(self._value(leaves, structure, target))}
        return figures | self._others(leaves, structure, target, gauges)

    def _value(self, leaves: list[Tensor], structure: Structure, target: object) -> Tensor:
        assert self._loss is not None
        try:
            value = self._call("loss", self._loss, leaves, structure, target)
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
    def _others(self, leaves: list[Tensor], structure: Structure, target: object, gauges: Gauges) -> dict[str, float]:
        figures = {}
        for name, metric in (*self._means.items(), *gauges.items()):
            try:
                if isinstance(metric, Gauge):
                    self._call(name, partial(_take_in, metric), leaves, structure, target)
                else:
                    figures[name] = float(self._call(name, metric, leaves, structure, target))
            except Exception as error:
                error.add_note(f"raised by the metric {name!r}")
                raise
        return figures

    def _call(
        self, name: str, call: Callable[[Tree, Any], Any], leaves: list[Tensor], structure: Structure, target: object
    ) -> Any:
        """Call loss or metric with the output; with a copy of it at the first batch, and where that was written into.

        A copy of the output is no leaf, into which torch refuses to write, and shares no memory with the last gate.
        """
        writes = self._writes.get(name)
        given = leaves if writes is False else [leaf.clone() for leaf in leaves]
        before = _versions(given)
        try:
            result = call(rebuild(structure, given), target)
        except RuntimeError as error:
            if writes is not False or WRITES_INTO_LEAF not in str(error):
                raise
            self._writes[name] = True  # it begins to write later than at its first batch
            return self._call(name, call, leaves, structure, target)
        if (wrote := _versions(given) != before) and writes is False:
            raise RuntimeError("it wrote into the output, which it did not do at its first batch; clone it there")
        self._writes[name] = wrote or bool(writes)
        return result


def _versions(leaves: list[Tensor]) -> list[int]:
    """Return how often each tensor was written into; one made in inference mode does not count that."""
    return [0 if leaf.is_inference() else leaf._version for leaf in leaves]


def _check_graph(value: Tensor, known: Set[int]) -> None:
    """Check that a loss depends on the output, and on nothing else that requires a gradient: that one would be lost."""
    if not value.requires_grad:
        raise TypeError(
            "the loss does not depend on the network's output in a way that has a gradient; "
            "compute it from the output with differentiable operations"
        )
    for leaf in leaves_of_graph(value):
        if id(leaf) not in known:
            raise TypeError(
                f"the loss depends on more than the network's output: on a tensor of shape {tuple(leaf.shape)}, whose "
                "gradient would be lost. Return features that the loss needs from the last gate, put weights that "
                "learn from it into a gate, and freeze others with requires_grad_(False)"
            )


def _take_in(gauge: Gauge, output: Tree, target: object) -> None:
    if isinstance(gauge, nn.Module):  # a metric of torchmetrics, whose state must be on the batch's device
        for leaf in flatten(output)[0][:1]:
            gauge.to(leaf.device)
    gauge.update(output, target)
