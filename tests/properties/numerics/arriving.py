"""Late gradients for one gate, one after the other, without a network."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

import akkordeon as ak
from akkordeon.gate.backward import BatchGradients
from akkordeon.gate.learner import Learner

__all__ = [
    "GRADIENTS",
    "LR",
    "MOMENTUM",
    "STALENESS",
    "START",
    "Late",
    "Line",
    "M",
    "arrivals",
    "assert_follows",
    "close",
]

Floats = Sequence[float]

GRADIENTS: Sequence[Floats] = [
    [1.0, -2.0, 0.5],
    [0.3, 0.7, -1.5],
    [-1.2, 0.1, 0.4],
    [2.0, -0.6, 0.9],
    [0.05, 1.1, -0.3],
    [-0.7, 0.2, 1.3],
    [0.4, -0.9, -0.8],
]
STALENESS = [0, 1, 0, 2, 1, 4, 3]
"""No more than there are updates before."""

START = [0.5, -1.0, 2.0]
"""The weights."""

LR, M = 0.1, 0.9
MOMENTUM = partial(SGD, lr=LR, momentum=M)

close = partial(pytest.approx, rel=1e-12, abs=1e-14)

Formula = Callable[[int], Iterator[float]]
"""Yields what becomes of one weight."""


class Line(nn.Module):
    """Three weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(START, dtype=torch.double))
        self.fixed = nn.Parameter(torch.tensor([7.0], dtype=torch.double), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight * self.fixed


class Late:
    """A gate's weights, and what has become of them.

    Args:
        compensation: at work.
        optimizer: makes the base optimizer.
        settings: of the gate.
    """

    def __init__(
        self,
        compensation: ak.Compensation | Sequence[ak.Compensation],
        optimizer: Callable[..., Optimizer],
        **settings: Any,
    ) -> None:
        gate = ak.Gate("line", Line(), optimizer, compensation, **settings)
        self.make = partial(Learner, gate)
        self.learner = self.make()
        self.history = [self.now]

    @property
    def now(self) -> list[float]:
        """The live weights."""
        (weight,) = self.learner.weights.trainable
        return [float(each) for each in weight.detach()]

    def arrives(self, gradient: Floats, staleness: int) -> int | str:
        """Let a gradient arrive that was computed at the weights so many updates ago."""
        learner = self.learner
        then = [torch.tensor(self.history[max(-1 - staleness, -len(self.history))], dtype=torch.double)]
        version = learner.weights.version
        arrival = ak.Arrival(staleness, learner.weights.trainable, then, version - staleness, version)
        g = torch.tensor(gradient, dtype=torch.double)
        outcome = learner.learn(BatchGradients([g], (), finite=True), staleness, lambda: arrival)
        if learner.weights.version > version:
            self.history.append(self.now)
        return outcome

    def run(self, gradients: Sequence[Floats] = GRADIENTS, staleness: Sequence[int] = STALENESS) -> "Late":
        """Let many arrive."""
        for gradient, late in zip(gradients, staleness, strict=True):
            self.arrives(gradient, late)
        return self

    def coordinate(self, index: int) -> list[float]:
        """One weight, before and after each update."""
        return [weights[index] for weights in self.history]

    def predicted(self, in_flight: int) -> list[float]:
        """The weights of a forward while so many batches are out."""
        (weight,) = self.learner.snapshot(in_flight).trainable
        return [float(each) for each in weight.detach()]


def assert_follows(late: Late, formula: Formula) -> None:
    """Check all updates of all weights."""
    late.run()
    for index in range(3):
        assert late.coordinate(index) == close([late.history[0][index], *formula(index)])


def arrivals(index: int) -> Iterator[tuple[float, int]]:
    """Yield one weight's gradients, and how late they come."""
    for gradient, staleness in zip(GRADIENTS, STALENESS, strict=True):
        yield gradient[index], staleness
