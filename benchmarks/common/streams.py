"""Batches that are ready in memory, from a loader that another process can unpickle."""

import functools
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

BATCHES = 60
"""Per epoch."""

Batch = tuple[Tensor, Tensor]
Batches = Callable[[], Iterator[Batch]]


def batches(size: int, features: int, classes: int) -> Batches:
    """Return a function that yields the batches of an epoch."""
    return partial(_stream, size, features, classes)


def _stream(*shape: int) -> Iterator[Batch]:
    return iter(_ready(*shape))


@functools.cache
def _ready(size: int, features: int, classes: int) -> list[Batch]:
    torch.manual_seed(0)
    x, target = torch.rand(BATCHES * size, features), torch.randint(0, classes, (BATCHES * size,))
    return list(zip(torch.split(x, size), torch.split(target, size), strict=True))
