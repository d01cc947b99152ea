"""Describes a model of the zoo: its pieces, data, loss and optimizer, and what is expected of it."""

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.parameter import Parameter
from torch.optim import SGD, Optimizer

SEED = 7

BATCH, WIDTH, CLASSES, WORDS, TIME = 6, 8, 3, 11, 5
"""Samples in a batch, features, classes to tell apart, words that there are, steps of a sequence."""

Chain = list[nn.Module]

Batches = list[tuple[Any, Any]]

MOMENTUM = partial(SGD, lr=0.05, momentum=0.9, weight_decay=0.01)


def labels(size: int) -> Any:
    return torch.randint(CLASSES, (size,))


def floats(*shape: int, dtype: torch.dtype | None = None) -> Callable[[int], Any]:
    return lambda size: torch.randn(size, *shape, dtype=dtype)


vector = floats(WIDTH)


def words(*shape: int) -> Callable[[int], Any]:
    return lambda size: torch.randint(WORDS, (size, *shape))


@dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Args:
        chain: makes the pieces of the model, each of which becomes a gate.
        x: takes a number of samples, and makes an input.
        target: likewise; makes a target.
        loss: of output and target.
        optimizer: of each piece.
        sizes: of the batches of an epoch.
        max_norm: to which the gradient of each piece is clipped.
        refused: pattern of the text that refuses it; empty where it must be trained.
        in_turn: whether a batch must find the buffers that the batch before it left, with several in flight, too.
        apart: whether the gradient of a batch can be computed again, without the batches before it.
        coin: whether it draws from Python's random numbers.
        whole: whether what is expected holds with all pieces in one gate, too.
        validated: whether evaluation changes nothing in a plain loop either, and draws no random numbers.
    """

    chain: Callable[[], Chain]
    x: Callable[[int], Any] = vector
    target: Callable[[int], Any] = labels
    loss: Callable[[Any, Any], Any] = functional.cross_entropy
    optimizer: Callable[[list[Parameter]], Optimizer] = MOMENTUM
    sizes: Sequence[int] = (*[BATCH] * 5, BATCH - 2)
    max_norm: float | None = None
    refused: str = ""
    in_turn: bool = False
    apart: bool = True
    coin: bool = False
    whole: bool = True
    validated: bool = True

    def pieces(self) -> Chain:
        """Make the model, with the same weights each time."""
        seed(SEED)
        return self.chain()

    def batches(self, count: int = 0) -> Batches:
        """Make the batches of an epoch, or so many; the same each time."""
        seed(SEED + 1)
        sizes = [self.sizes[number % len(self.sizes)] for number in range(count or len(self.sizes))]
        return [(self.x(size), self.target(size)) for size in sizes]


def seed(number: int) -> None:
    """Seed the random numbers that models draw."""
    torch.manual_seed(number)
    random.seed(number)


def fresh(batches: Batches) -> Batches:
    """Return copies, since a model may write into its input."""
    return [(copied(x), copied(target)) for x, target in batches]


def copied(tree: Any) -> Any:
    """Copy a tree; `deepcopy` cannot copy tensors in CSR form."""
    match tree:
        case torch.Tensor():
            return tree.clone()
        case dict():
            return {key: copied(branch) for key, branch in tree.items()}
        case list():
            return [copied(branch) for branch in tree]
        case tuple() if type(tree) is tuple:
            return tuple(copied(branch) for branch in tree)
    return copy.deepcopy(tree)


def trains(piece: nn.Module) -> bool:
    """Whether a piece has anything to train."""
    return any(parameter.requires_grad for parameter in piece.parameters())
