"""Small gates, data and engines that the tests of this folder share. Four features, three classes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from akkordeon import Gate, TestSentinel, TrainingSentinel, ValidationSentinel, accuracy
from akkordeon.engines import Stepped

Pair = tuple[Tensor, Tensor]

NINE = (5, 5, 5, 5, 5, 5, 5, 5, 3)
"""Batches of a validation."""


def stepped(seed: int = 1) -> Stepped:
    return Stepped(seed=seed, debug=True)


def gates(lr: float = 0.1, **settings: Any) -> list[Gate]:
    sgd = partial(SGD, lr=lr)
    return [
        Gate("stem", nn.Sequential(nn.Linear(4, 6), nn.ReLU()), sgd, **settings),
        Gate("body", nn.Sequential(nn.Linear(6, 5), nn.Tanh()), sgd, **settings),
        Gate("head", nn.Linear(5, 3), sgd, **settings),
    ]


def pairs(sizes: Sequence[int] = (5, 5, 5, 5), seed: int = 0) -> list[Pair]:
    """Batches of these sizes, the same for the same seed; a sample's class is the largest of its first features."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(size, 4, generator=generator) for size in sizes]
    return [(x, x[:, :3].argmax(dim=1)) for x in inputs]


def data(sizes: Sequence[int] = (5, 5, 5, 5), seed: int = 0) -> Callable[[], list[Pair]]:
    return partial(pairs, sizes, seed)


def training(name: str = "train", *, sizes: Sequence[int] = (5, 5, 5, 5), **settings: Any) -> TrainingSentinel:
    return TrainingSentinel(name, data(sizes), nn.functional.cross_entropy, {"accuracy": accuracy}, **settings)


def validation(name: str = "validation", *, sizes: Sequence[int] = NINE, **settings: Any) -> ValidationSentinel:
    return ValidationSentinel(name, data(sizes, 7), nn.functional.cross_entropy, {"accuracy": accuracy}, **settings)


def examining(name: str = "test", *, sizes: Sequence[int] = (5, 5, 3), **settings: Any) -> TestSentinel:
    return TestSentinel(name, data(sizes, 7), nn.functional.cross_entropy, {"accuracy": accuracy}, **settings)
