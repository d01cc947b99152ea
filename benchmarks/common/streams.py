"""Batches that are ready in memory: a loader that can be told to another process."""

import functools
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

__all__ = ["BATCHES", "Batches", "batches"]

BATCHES = 60
"""In an epoch."""

Batch = tuple[Tensor, Tensor]
Batches = Callable[[], Iterator[Batch]]


def batches(size: int, features: int, classes: int) -> Batches:
    """Return what yields the batches of an epoch."""
    return partial(_stream, size, features, classes)


def _stream(*shape: int) -> Iterator[Batch]:
    return iter(_ready(*shape))


@functools.cache
def _ready(size: int, features: int, classes: int) -> list[Batch]:
    torch.manual_seed(0)
    x, target = torch.rand(BATCHES * size, features), torch.randint(0, classes, (BATCHES * size,))
    return list(zip(torch.split(x, size), torch.split(target, size), strict=True))
