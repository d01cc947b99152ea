"""Models to train, as modules of gates, with batches that are ready in memory: no loader is measured."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from akkordeon.recipes import char_gpt

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Model:
    """A model to train.

    Args:
        modules: makes the parts that it can be split into.
        make_batch: makes one batch of inputs and targets.
        batches: per epoch, the unit of time here: some tenths of a second.
        target: throughput to plain PyTorch at its best.
        merged: whether all modules form one gate; small gates cost more than they gain.
    """

    modules: Callable[[], list[nn.Module]]
    make_batch: Callable[[], Batch]
    batches: int
    target: float
    merged: bool = False

    def gates(self) -> list[nn.Module]:
        """Return the modules of the gates."""
        return [nn.Sequential(*self.modules())] if self.merged else self.modules()

    def data(self) -> list[Batch]:
        """Return the batches of an epoch, the same in every process."""
        torch.manual_seed(0)
        return [self.make_batch() for _ in range(self.batches)]


def perceptron(*widths: int) -> Callable[[], list[nn.Module]]:
    """Return a function that makes one module per layer."""

    def modules() -> list[nn.Module]:
        *hidden, last = (nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        return [*(nn.Sequential(layer, nn.ReLU()) for layer in hidden), last]

    return modules


def convolutions() -> list[nn.Module]:
    """Two convolutions and two linear layers, for 28x28 pixels."""
    return [
        nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        nn.Sequential(nn.Linear(32 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10)),
    ]


def gpt() -> list[nn.Module]:
    """Four blocks of width 128, in one gate per half block: codes (12, 64) -> logits (12, 65, 64)."""
    return [gate.module for gate in char_gpt.gates()]


def vectors(size: int) -> Callable[[], Batch]:
    return lambda: (torch.randn(size, 784), torch.randint(0, 10, (size,)))


def images(size: int) -> Callable[[], Batch]:
    return lambda: (torch.randn(size, 1, 28, 28), torch.randint(0, 10, (size,)))


def text() -> Batch:
    return torch.randint(0, 65, (12, 64)), torch.randint(0, 65, (12, 64))


MODELS = {
    "mlp-1024": Model(perceptron(784, 50, 20, 10), vectors(1024), 60, 1.2, merged=True),
    "cnn-64": Model(convolutions, images(64), 40, 1.05),
    "gpt": Model(gpt, text, 12, 1.1),
    "512x4-256": Model(perceptron(784, 512, 512, 512, 512, 10), vectors(256), 60, 1.05),
    "256x3-64": Model(perceptron(784, 256, 256, 256, 10), vectors(64), 200, 1.0, merged=True),
    "tiny-64": Model(perceptron(784, 50, 20, 10), vectors(64), 300, 0.75, merged=True),
}
