"""A chain of equal small gates, and batches that are ready in memory."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak

WIDTH, BATCH = 256, 64

BATCHES = 16
"""Per epoch: few, since reports are the clock of a measurement."""

MESSAGE_BYTES = 4 * BATCH * WIDTH
"""Bytes of an activation or a gradient."""

STASH_BYTES = 2 * MESSAGE_BYTES
"""Bytes that a gate keeps per batch in flight: input and output."""

WEIGHT_BYTES = 4 * (WIDTH * WIDTH + WIDTH)
"""Bytes of one version of the weights of a gate."""


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
    """Describe a sentinel without an end."""
    return ak.TrainingSentinel(f"s{number}", data, cross_entropy, in_flight=in_flight)
