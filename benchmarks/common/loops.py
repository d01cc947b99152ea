"""Trains a model with plain PyTorch or as actors, and returns the seconds of each epoch."""

import itertools
import time
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Threads
from benchmarks.common.models import MODELS, Batch, Model

EPOCHS, WARM_UP = 9, 2
LR = 0.01
IN_FLIGHT, COMPUTATIONS = 4, 2

Data = Callable[[], Iterable[Batch]]


def train(model: nn.Module, optimizer: SGD, data: Iterable[Batch]) -> None:
    """Train for an epoch."""
    for x, target in data:
        optimizer.zero_grad()
        loss = cross_entropy(model(x), target)
        torch.autograd.backward(loss)
        optimizer.step()
        loss.item()


def plain(model: Model, data: Data, threads: int) -> list[float]:
    """Return seconds of each epoch of a plain loop."""
    torch.set_num_threads(threads)
    module = nn.Sequential(*model.modules())
    optimizer = SGD(module.parameters(), lr=LR)
    took = []
    for _ in range(WARM_UP + EPOCHS):
        began = time.perf_counter()
        train(module, optimizer, data())
        took.append(time.perf_counter() - began)
    return took[WARM_UP:]


def batches(name: str) -> list[Batch]:
    """Return the batches of a model; with `partial`, a loader that another process can unpickle."""
    return MODELS[name].data()


def gates(model: Model, computations: int = COMPUTATIONS) -> list[ak.Gate]:
    """Return the gates of a model."""
    make = partial(SGD, lr=LR)
    return [ak.Gate(f"gate{n}", each, make, computations=computations) for n, each in enumerate(model.gates())]


def actors(
    model: Model,
    data: Data,
    *,
    in_flight: int = IN_FLIGHT,
    computations: int = COMPUTATIONS,
    engine: Engine | None = None,
) -> list[float]:
    """Return seconds of each epoch of one sentinel, on the threads engine by default."""
    sentinel = ak.TrainingSentinel("train", data, cross_entropy, in_flight=in_flight, epochs=WARM_UP + EPOCHS + 1)
    with ak.launch(gates(model, computations), engine=engine or Threads()) as network:
        network.attach(sentinel)
        came = [time.perf_counter() for _ in network.watch()]
    return [b - a for a, b in itertools.pairwise(came[WARM_UP:])]
