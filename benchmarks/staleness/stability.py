"""Measures the largest stable learning rate on a quadratic for a given delay, beside the theory.

A gate of one weight w has the loss w²/2, so its gradient is the weight of the forward. The measurement is whether |w|
grows or shrinks. PipeMare's lemma 1 (arXiv 1910.05124) gives the limit without momentum, 2 sin(π / (2 (2τ + 1))); with
momentum it follows from the roots of the characteristic polynomial.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from akkordeon.errors import AkkordeonError
from akkordeon.network.launching import launch
from akkordeon.sentinel.description import TrainingSentinel
from benchmarks.staleness.arms import arms
from benchmarks.staleness.profiles import profile

MOMENTUM = 0.9
KINDS = {"SGD": ("sgd 0.9", "momentum 0"), "heavy ball": ("sgd 0.9", "uncompensated"), "spike": ("sgd 0.9", "spike")}
"""Rows of the table, and their family and arm."""

PRECISION = 1.008
"""Largest ratio of the lowest unstable rate to the highest stable rate found."""


@dataclass(frozen=True)
class Limit:
    """The largest stable step η h / (1 - m), measured and by the theory."""

    kind: str
    staleness: int
    measured: float
    law: float

    @property
    def error(self) -> float:
        """Relative deviation from the theory."""
        return self.measured / self.law - 1


def limit(kind: str, staleness: int) -> Limit:
    """Measure the limit of a kind of momentum at a staleness, and compute it by the theory."""
    return Limit(kind, staleness, measured(kind, staleness), law(kind, staleness))


def law(kind: str, staleness: int) -> float:
    """Return the limit by the theory."""
    if kind == "SGD":
        return 2 * math.sin(math.pi / (2 * (2 * staleness + 1)))
    low, high = 0.0, 100.0
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _radius(kind, staleness, middle * (1 - MOMENTUM)) < 1 else (low, middle)
    return low


def _radius(kind: str, staleness: int, rate: float) -> float:
    """Return the size of the largest root: (z - 1)(z - m) z^τ + η (a z + b (z - m)) = 0."""
    m = MOMENTUM
    a, b = (m**staleness, (1 - m**staleness) / (1 - m)) if kind == "spike" else (1.0, 0.0)
    polynomial = np.zeros(staleness + 3)
    polynomial[:3] = [1.0, -1.0 - m, m]
    polynomial[-2:] += [rate * (a + b), -rate * b * m]
    if staleness == 0:
        polynomial = np.array([1.0, -1.0 - m + rate * (a + b), m - rate * b * m])
    return float(np.abs(np.roots(polynomial)).max())


def measured(kind: str, staleness: int) -> float:
    """Find the limit by bisection, between a rate at which the weight shrinks and one at which it grows."""
    low = high = 0.8 * law(kind, staleness)
    while not _grows(kind, staleness, high):
        low, high = high, 1.2 * high
    while _grows(kind, staleness, low):
        low, high = low / 1.2, low
    while high / low > PRECISION:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _grows(kind, staleness, middle) else (middle, high)
    return math.sqrt(low * high)


def _grows(kind: str, staleness: int, rate: float) -> bool:
    """Train, and return whether the loss grows in the second half."""
    family, name = KINDS[kind]
    lr = rate if kind == "SGD" else rate * (1 - MOMENTUM)
    module = nn.Linear(1, 1, bias=False, dtype=torch.double)
    nn.init.ones_(module.weight)
    length = 20 * (staleness + 1)
    late = profile("uniform", staleness)
    batches = [(torch.ones(1, 1, dtype=torch.double), torch.zeros(1, 1, dtype=torch.double))] * length
    gates = late.gates(arms(family)[name].gates([module], lr, 10 * length))
    with launch(gates, engine=late.engine(0)) as network:
        network.attach(TrainingSentinel("train", lambda: batches, _half_square, in_flight=late.in_flight, epochs=10))
        try:
            losses = [report.loss for report in network.watch()]
        except AkkordeonError:
            return True
    return _rises(losses)


def _rises(losses: Sequence[float]) -> bool:
    later = losses[4:]
    return not all(map(math.isfinite, later)) or later[-1] > later[0]


def _half_square(output: Tensor, _target: Tensor) -> Tensor:
    return output.square().sum() / 2
