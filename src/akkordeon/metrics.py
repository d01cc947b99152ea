"""Figures of merit, and their means over samples rather than batches.

Shapes: B = batch, C = classes, … = any further dimensions, such as the positions of a text.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from akkordeon.tree import Tree

__all__ = ["Mean", "Metric", "Metrics", "accuracy"]

Metric = Callable[[Tree, Tree], Tensor | float]
"""Takes output and target of a batch, returns their mean over its samples."""

Metrics = Mapping[str, Metric]


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Return the share of samples whose largest output is the target's.

    Args:
        output: scores, (B, C, …), as `torch.nn.functional.cross_entropy` takes them.
        target: class numbers, (B, …).
    """
    return (output.argmax(dim=1) == target).float().mean()


class Mean:
    """A running mean, each value weighted, as by its number of samples."""

    __slots__ = ("_sum", "weight")

    def __init__(self) -> None:
        self.weight = 0
        self._sum = 0.0

    def add(self, value: float, weight: int = 1) -> None:
        """Take in one value."""
        self._sum += value * weight
        self.weight += weight

    @property
    def value(self) -> float:
        """The mean so far; NaN before the first value."""
        return self._sum / self.weight if self.weight else float("nan")
