"""Measures outputs: accuracy, top-k accuracy, perplexity, and means over samples rather than batches.

Shapes: B = batch, C = classes, … = any further dimensions, such as the positions of a text.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from akkordeon.messages.tree import Tree


@runtime_checkable
class Gauge(Protocol):
    """A metric that is not a mean over samples: it takes in batches, and is read at the end of an epoch.

    The metrics of torchmetrics are gauges as they are. Each epoch reads a copy of its own, since epochs may overlap.
    """

    def update(self, output: Any, target: Any, /) -> object:
        """Take in a batch."""

    def compute(self) -> Any:
        """Return the figure so far: one number."""

    def reset(self) -> object:
        """Forget all batches."""


Metric = Callable[[Tree, Tree], Tensor | float] | Gauge
"""Takes output and target of a batch, returns their mean over its samples; or a gauge."""

Metrics = Mapping[str, Metric]

Gauges = Mapping[str, Gauge]
"""Those of one epoch, by name."""


def read(gauges: Gauges) -> dict[str, float]:
    """Return the figures of an epoch that ends.

    Raises:
        Exception: anything that a gauge raises, with a note that says which.
    """
    figures = {}
    for name, gauge in gauges.items():
        try:
            figures[name] = float(gauge.compute())
        except Exception as error:
            error.add_note(f"raised by the metric {name!r}, which must compute one number")
            raise
    return figures


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Return the share of samples whose largest output is the target's.

    Args:
        output: scores, (B, C, …), as `torch.nn.functional.cross_entropy` takes them.
        target: class numbers, (B, …).
    """
    return (output.argmax(dim=1) == target).float().mean()


@dataclass(frozen=True)
class TopK:
    """The share of samples whose target is among the `k` largest outputs: `{"top 5": TopK(5)}`.

    Args:
        k: how many; at most the number of classes.

    Raises:
        ValueError: `k` is less than 1.
    """

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, not {self.k}")

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Take scores, (B, C, …), and class numbers, (B, …).

        Raises:
            ValueError: there are fewer than `k` classes.
        """
        if self.k > output.shape[1]:
            raise ValueError(f"k must be at most the number of classes, {output.shape[1]}, not {self.k}")
        largest = output.topk(self.k, dim=1).indices
        return (largest == target.unsqueeze(1)).any(dim=1).float().mean()


class Perplexity:
    """exp of the mean cross entropy over all targets of an epoch, which is no mean over batches.

    Args:
        ignore: targets of this value do not count, as in `torch.nn.functional.cross_entropy`.
    """

    def __init__(self, ignore: int = -100) -> None:
        self._ignore = ignore
        self._mean = Mean()

    @torch.no_grad()
    def update(self, output: Tensor, target: Tensor) -> None:
        """Take scores, (B, C, …), and class numbers, (B, …)."""
        count = int((target != self._ignore).sum())
        if count:
            self._mean.add(float(cross_entropy(output.float(), target, ignore_index=self._ignore)), count)

    def compute(self) -> float:
        """Return the perplexity so far; NaN before the first target, infinity where a float cannot hold it."""
        return math.exp(self._mean.value) if not self._mean.value > 700 else math.inf

    def reset(self) -> None:
        """Forget all batches."""
        self._mean = Mean()

    def state_dict(self) -> dict[str, float]:
        """Return the sum and the number of targets so far."""
        return {"sum": self._mean.sum, "weight": self._mean.weight}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from what `state_dict` returned."""
        self._mean = Mean(state["sum"], state["weight"])


@dataclass(slots=True)
class Mean:
    """A running mean, each value weighted, as by its number of samples."""

    sum: float = 0.0
    weight: float = 0

    def add(self, value: float, weight: int = 1) -> None:
        """Take in one value."""
        self.sum += value * weight
        self.weight += weight

    @property
    def value(self) -> float:
        """The mean so far; NaN before the first value."""
        return self.sum / self.weight if self.weight else float("nan")
