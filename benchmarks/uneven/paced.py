"""Gates that take a given time, as if each were on a machine of its own, some of them slow.

They sleep, which takes no core from the others: the benchmark measures which gate waits for which. A machine computes
one thing at a time, however many computations its gate may run at once.
"""

import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common.models import Batch, Model

BATCH, WIDTH, CLASSES = 64, 32, 10
FORWARD, BACKWARD = 0.002, 0.004
"""Seconds that a machine of slowness 1 takes for a whole batch."""


class _Machine:
    """Computes one thing after the other, `slowness` times slower than other machines; copies of a module share it."""

    def __init__(self, slowness: float) -> None:
        self._slowness = slowness
        self._free = threading.Lock()

    def __deepcopy__(self, _: object) -> "_Machine":
        return self

    def compute(self, seconds: float, samples: int) -> None:
        """Sleep for the time that a part of a batch takes."""
        with self._free:
            time.sleep(self._slowness * seconds * samples / BATCH)  # noqa: TID251 - this is its work


class _Sleep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, machine: _Machine) -> Tensor:
        ctx.machine = machine
        machine.compute(FORWARD, len(x))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        ctx.machine.compute(BACKWARD, len(gradients[0]))
        return gradients[0], None


class Paced(nn.Module):
    """A linear layer on a machine that is `slowness` times slower than others: (N, 32) -> (N, 32)."""

    def __init__(self, slowness: float) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self._machine = _Machine(slowness)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer, and take the time of the machine."""
        slept: Tensor = _Sleep.apply(self.layer(x), self._machine)  # type: ignore[no-untyped-call]
        return slept


@dataclass(frozen=True)
class _Modules:
    slowness: tuple[float, ...]

    def __call__(self) -> list[nn.Module]:
        return [Paced(each) for each in self.slowness]


def _batch() -> Batch:
    return torch.randn(BATCH, WIDTH), torch.randint(0, CLASSES, (BATCH,))


def paced(*slowness: float, batches: int = 20) -> Model:
    """Return a model with one gate per slowness."""
    return Model(_Modules(slowness), partial(_batch), batches, 0.95)
