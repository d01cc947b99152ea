"""Loss and metrics of one batch, and the gradient of the loss with respect to the network's output."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from akkordeon.data import to_device
from akkordeon.differentiate import differentiate
from akkordeon.metrics import Metrics
from akkordeon.tree import Tree, describe, flatten, rebuild

__all__ = ["Judge", "Loss"]

Loss = Callable[[Tree, Tree], Tensor]
"""Takes the network's output and the target of a batch; returns the mean over its samples, a scalar tensor."""


class Judge:
    """Takes outputs and targets, returns figures: the loss under the name "loss", and the metrics under theirs."""

    def __init__(self, loss: Loss | None, metrics: Metrics) -> None:
        self._loss = loss
        self._metrics = metrics

    def learn(self, output: Tree, target: Tree) -> tuple[dict[str, float], tuple[Tensor | None, ...]]:
        """Return figures, and the gradient of the loss for each tensor of the output, None where there is none.

        Raises:
            TypeError: the loss is no scalar, or does not depend on the output.
            Exception: whatever loss or metrics raise, with a note that says which.
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
        figures = {"loss": float(value.detach())}
        return (figures | self._others(output, target) if self._metrics else figures), gradients

    @torch.no_grad()
    def measure(self, output: Tree, target: Tree) -> Mapping[str, float]:
        """Return figures alone; raises as `learn` does."""
        target = _beside(flatten(output)[0], target)
        figures = {} if self._loss is None else {"loss": float(self._value(output, target))}
        return figures | self._others(output, target)

    def _value(self, output: Tree, target: Tree) -> Tensor:
        assert self._loss is not None
        try:
            value = self._loss(output, target)
        except Exception as error:
            error.add_note("raised by the loss")
            raise
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise TypeError(
                f"the loss must be one number, the mean over the batch, and is {describe(value)}; "
                "reduce it, as with .mean()"
            )
        return value.squeeze()

    @torch.no_grad()
    def _others(self, output: Tree, target: Tree) -> dict[str, float]:
        figures = {}
        for name, metric in self._metrics.items():
            try:
                figures[name] = float(metric(output, target))
            except Exception as error:
                error.add_note(f"raised by the metric {name!r}")
                raise
        return figures


def _beside(leaves: list[Tensor], target: Tree) -> Tree:
    """Put the target on the device where the output is."""
    return to_device(target, leaves[0].device) if leaves else target
