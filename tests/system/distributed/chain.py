"""Networks of two gates that count, on Ray, and what happens to their processes."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Ray
from tests import waiting
from tests.network.counting import Counts, Numbered, numbers, total
from tests.network.patience import wait_until

NAMES = ("stem", "body")

LIMIT = 60.0
"""Seconds for what takes one, on a quiet machine."""

LEASE = 120.0
"""Seconds; on a machine that is very busy, a process may take half a minute until its first sign of life."""

AT_ONCE = ak.Supervision(restarts=1000, backoff=(0.0,), copy_every=1, copy_share=1.0, lease=LEASE)


class Touchy(Counts):
    """Counts, and raises where two numbers come at once."""

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        if len(x[0]) > 1:
            raise KeyError("two at once")
        return super().forward(x)


def gates(num: int) -> list[ak.Gate]:
    return [ak.Gate(name, Touchy(num), make_optimizer) for name in NAMES]


def make_optimizer(parameters: Any) -> torch.optim.Optimizer:
    return SGD(parameters, lr=1.0)


def endless() -> Iterator[Numbered]:
    """Yield the batch of the last number, again and again; it does not count.

    Some thirty a second, which leaves the machine to processes that begin.
    """
    pause = threading.Event()
    while not pause.wait(0.03):
        yield (torch.tensor([-1]), torch.zeros(1)), torch.zeros(1)


def endless_training(name: str, **settings: Any) -> ak.TrainingSentinel:
    return ak.TrainingSentinel(name, endless, total, in_flight=8, **settings)


def pair_after_two(first: int) -> Iterator[Numbered]:
    """Yield three batches, the last of which has two numbers."""
    yield from numbers(first, 2)
    yield (torch.tensor([first, first + 1]), torch.zeros(1)), torch.zeros(1)


def loader_that_raises(first: int) -> Iterator[Numbered]:
    yield from numbers(first, 2)
    raise FileNotFoundError(2, "No such file", "words.txt")


def tell(what: str, **figures: float) -> None:
    """Print what a fault came to, as one line of JSON."""
    print(json.dumps({"engine": "ray", "fault": what} | {name: round(value, 2) for name, value in figures.items()}))


def look(network: ak.Network) -> ak.Status:
    """Ask how the network stands until it answers: on a busy machine, a process that has just begun is late."""
    came: list[ak.Status] = []

    def answered() -> bool:
        with suppress(ak.NoAnswer):
            came.append(network.status())
        return bool(came)

    waiting.wait_until(answered, LIMIT, "a status")
    return came[0]


def done(network: ak.Network, sentinel: str) -> int:
    """Return how many batches of a sentinel are through; -1 if it is not there."""
    return next((each.done for each in look(network).sentinels if each.name == sentinel), -1)


def soon(network: ak.Network, condition: Callable[[], object], what: str) -> float:
    """Wait until a condition holds; return how many seconds that took."""
    start = time.monotonic()
    wait_until(network, condition, seconds=LIMIT, what=what)
    return time.monotonic() - start


def more(network: ak.Network, sentinel: str, num: int) -> float:
    """Wait until some more batches of a sentinel are through; return how many seconds that took."""
    before = done(network, sentinel)
    return soon(network, lambda: done(network, sentinel) >= before + num, f"{num} batches of {sentinel}")


def process(network: ak.Network, actor: str) -> int:
    """Return the number of the process in which the latest actor of a gate or sentinel lives."""
    assert isinstance(network.engine, Ray)
    kind, _, name = actor.partition(" ")
    there = network.engine.where()
    (found,) = [each for each in there if each.partition(" ")[2] == name and each.startswith(kind)]
    return int(there[found].split()[0])


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
