"""Pieces that many models of the zoo have in common."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tests.strangers.entry import CLASSES, WIDTH, Chain


class Apply(nn.Module):
    """Calls a function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


class Residual(nn.Module):
    """Adds what its inner module makes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        return x + self.inner(x)


def linear(inputs: int = WIDTH, outputs: int = WIDTH) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.Tanh())


def head(width: int = WIDTH) -> nn.Module:
    return nn.Linear(width, CLASSES)


def flat(width: int) -> nn.Module:
    """Read out all that is left in one vector."""
    return nn.Sequential(nn.Flatten(), nn.Linear(width, CLASSES))


def mean(width: int = WIDTH) -> nn.Module:
    """Read out the mean over time."""
    return nn.Sequential(Apply(mean_over_time), nn.Linear(width, CLASSES))


def mean_over_time(x: Tensor) -> Any:
    return x.mean(1)


def around(middle: nn.Module) -> Chain:
    """A piece between two that have nothing odd."""
    return [linear(), middle, head()]
