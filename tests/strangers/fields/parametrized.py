"""Weights that are made of other tensors at each forward."""

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune

import akkordeon as ak
from tests.strangers.entry import WIDTH, Chain, Entry, floats
from tests.strangers.parts import around, flat, head


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).t()


class Cached(nn.Module):
    """Uses a parametrized weight several times, computed once."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = symmetric()

    def forward(self, x: Tensor) -> Any:
        with parametrize.cached():
            return self.linear(self.linear(x).tanh())


class Hyper(nn.Module):
    """Makes its weights of its input, by a network."""

    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Linear(WIDTH, WIDTH * WIDTH)

    def forward(self, x: Tensor) -> Any:
        return functional.linear(x, self.make(x.mean(0)).view(WIDTH, WIDTH))


class WeightDrop(nn.Module):
    """Puts a masked copy of a raw weight where its inner module looks for it, as AWD-LSTM does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)
        weight = self.inner.weight
        del self.inner.weight
        self.raw = nn.Parameter(weight.data)

    def forward(self, x: Tensor) -> Any:
        self.inner.weight = functional.dropout(self.raw, 0.3, self.training)
        return self.inner(x)


def symmetric() -> nn.Linear:
    linear = nn.Linear(WIDTH, WIDTH)
    parametrize.register_parametrization(linear, "weight", Symmetric())
    return linear


def old(normalise: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return normalise(nn.Linear(WIDTH, WIDTH))


def pruned() -> nn.Module:
    linear = nn.Linear(WIDTH, WIDTH)
    prune.l1_unstructured(linear, "weight", amount=0.4)  # type: ignore[no-untyped-call]
    return linear


def spectral() -> Chain:
    conv = parametrizations.spectral_norm(nn.Conv1d(4, 4, 3), n_power_iterations=2)
    return [conv, nn.BatchNorm1d(4), flat(24)]


ENTRIES = {
    "weight norm": Entry(lambda: around(parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH)))),
    "old weight norm": Entry(lambda: around(old(nn.utils.weight_norm))),
    "spectral norm": Entry(spectral, floats(4, WIDTH)),
    "old spectral norm": Entry(lambda: around(old(nn.utils.spectral_norm))),
    "orthogonal": Entry(lambda: around(parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH)))),
    "symmetric": Entry(lambda: around(symmetric())),
    # torch keeps that cache for a whole process: with two computations at once, it may be computed twice.
    "symmetric, computed once per forward": Entry(lambda: around(Cached()), apart=False),
    "pruned": Entry(lambda: around(pruned())),
    "dropped weights": Entry(lambda: [ak.DropConnect(nn.Linear(WIDTH, WIDTH)), nn.Tanh(), head()]),
    "dropped weights, set in the forward": Entry(lambda: around(WeightDrop())),
    "weights that a network makes": Entry(lambda: around(Hyper())),
}
