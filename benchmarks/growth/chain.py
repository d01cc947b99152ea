"""What is trained on the threads engine: equal small gates in a chain, and batches that are ready in memory."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak

__all__ = ["BATCH", "MESSAGE_BYTES", "STASH_BYTES", "WEIGHT_BYTES", "WIDTH", "batches", "gates", "sentinel"]

WIDTH, BATCH = 256, 64

BATCHES = 16
"""Of an epoch: short, since reports are the clock of a measurement."""

MESSAGE_BYTES = 4 * BATCH * WIDTH
"""Of an activation or a gradient."""

STASH_BYTES = 2 * MESSAGE_BYTES
"""What a gate keeps of a batch in flight: its input and its output."""

WEIGHT_BYTES = 4 * (WIDTH * WIDTH + WIDTH)
"""One version of the weights of a gate."""


def gates(number: int) -> list[ak.Gate]:
    """Describe the gates, each a linear layer."""
    make = partial(SGD, lr=0.01)
    return [
        ak.Gate(f"g{n}", nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()), make, computations=1) for n in range(number)
    ]


def batches() -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """Make a loader of batches that are ready in memory."""
    torch.manual_seed(0)
    x, target = torch.rand(BATCHES * BATCH, WIDTH), torch.randint(0, WIDTH, (BATCHES * BATCH,))
    return lambda: iter(zip(torch.split(x, BATCH), torch.split(target, BATCH), strict=True))


def sentinel(number: int, in_flight: int, data: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> ak.TrainingSentinel:
    """Describe a sentinel that goes on until it is told to leave."""
    return ak.TrainingSentinel(f"s{number}", data, cross_entropy, in_flight=in_flight)
