"""The arms of this benchmark: calls by part, microseconds by part, and pairs of turns.

Each takes the size of a batch and a number of workers, and measures in this process.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Threads
from benchmarks.common.apart import FOREIGN, busy_seconds
from benchmarks.common.calls import NONE, Calls, CountedThreads, Counter, counting
from benchmarks.common.costs import role
from benchmarks.common.models import perceptron, vectors
from benchmarks.common.watched import WatchedThreads

PAIRS, QUICK, TRIES = 30, 3, 3
"""Pairs of turns of a case; of a quick run; and how many times as many are tried where some are void."""

WARM, BATCHES = 32, {64: 480, 1024: 96}
"""Batches before a turn is measured, and of its measured part by size: multiples of 16, since a norm is taken of every
sixteenth gradient."""

LR = 0.01

PARTS = {
    "forward": [("work", "gate", "Forward")],
    "backward": [("work", "gate", "Backward")],
    "update": [("turn", "gate", "Backward then")],
    "messages": [("turn", "gate", kind) for kind in ("Forward", "Forward then", "Backward")],
    "sentinel": [],  # all that it does
    "loader": [],  # likewise
}
"""Turns and computations of each part, each with its share of the engine. The update sends the gradient on, too."""

ROLES = {"sentinel": "sentinel", "provider": "loader"}

Batch = tuple[Tensor, Tensor]
Figures = dict[str, float]


class Loss:
    """A loss that notes when it is called, which is once per batch, and calls something at two of the batches.

    Args:
        first: number of the batch at which the measurement begins.
        last: number of the batch at which it ends.
        begin: called at the first.
        end: called at the last.
    """

    def __init__(
        self, first: int = -1, last: int = -1, begin: Callable[[], object] = int, end: Callable[[], object] = int
    ) -> None:
        self._at = {first: begin, last: end}
        self._first, self._last, self._number = first, last, 0
        self._times: dict[int, float] = {}

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if self._number in self._at:
            self._at[self._number]()
            self._times[self._number] = time.perf_counter()
        self._number += 1
        return cross_entropy(output, target)

    @property
    def microseconds(self) -> float:
        """Mean per batch."""
        return (self._times[self._last] - self._times[self._first]) / (self._last - self._first) * 1e6


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*perceptron(784, 50, 20, 10)())


def batches(size: int) -> list[Batch]:
    """Return the batches of a turn; few of them, again and again, so that they stay in the cache."""
    torch.manual_seed(1)
    few = [vectors(size)() for _ in range(4)]
    return [few[number % len(few)] for number in range(WARM + BATCHES[size] + 1)]


def plain(model: nn.Module, optimizer: SGD, data: Sequence[Batch], loss: Loss) -> float:
    """Train a turn in a plain loop; return the microseconds of a batch."""
    for x, target in data:
        optimizer.zero_grad()
        value = loss(model(x), target)
        torch.autograd.backward(value)
        optimizer.step()
        value.item()
    return loss.microseconds


def in_parts(model: nn.Module, optimizer: SGD, batch: Batch, loss: Loss, note: Callable[[str], None]) -> None:
    """Do the same for one batch, with the backward cut where a gate's begins; note each part after it."""
    x, target = batch
    note("before")
    output = model(x)
    note("forward")
    leaf = output.detach().requires_grad_()
    value = loss(leaf, target)
    torch.autograd.backward(value)
    value.item()
    note("sentinel")
    torch.autograd.backward(output, leaf.grad)
    note("backward")
    optimizer.step()
    optimizer.zero_grad()
    note("update")


def bare_calls(size: int) -> dict[str, Calls]:
    """Return the calls of the bare computation by part, and of a plain batch in all ("whole")."""
    model, counter, found = module(), Counter(), dict.fromkeys((*PARTS, "before", "whole"), NONE)
    optimizer, data = SGD(model.parameters(), lr=LR), batches(size)

    def note(part: str) -> None:
        found[part] = counter.take()

    with counting(counter):
        for batch in data[:3]:  # the first ones do more
            in_parts(model, optimizer, batch, Loss(), note)
        loss = Loss(1, len(data) - 1, counter.take, partial(note, "whole"))
        plain(model, optimizer, data, loss)
    found["whole"] = Calls(*(each / (len(data) - 2) for each in found["whole"]))
    del found["before"]
    return found | {part: found[part] + (-1, 0) for part in found if part != "whole" and found[part] != NONE}  # `note`


def bare_times(size: int) -> Figures:
    """Return the microseconds of the bare computation by part."""
    model, took, began = module(), {part: [0.0] for part in (*PARTS, "before")}, 0.0
    optimizer = SGD(model.parameters(), lr=LR)

    def note(part: str) -> None:
        nonlocal began
        now = time.perf_counter()
        took[part].append(now - began)
        began = now

    for batch in batches(size):
        in_parts(model, optimizer, batch, Loss(), note)
    return {part: median(took[part]) * 1e6 for part in PARTS}


def one_turn(network: ak.Network, size: int, loss: Loss, name: str = "train") -> None:
    """Train a turn."""
    data = batches(size)
    network.attach(ak.TrainingSentinel(name, lambda: data, loss, in_flight=1, epochs=1))
    for _ in network.watch():
        pass


def launched(engine: Threads, **settings: Any) -> ak.Network:
    """Start the network."""
    supervision = ak.Supervision(**settings)
    return ak.launch([ak.Gate("gate", module(), partial(SGD, lr=LR))], engine=engine, supervision=supervision)


def part_of(what: str, name: str, kind: str) -> str | None:
    """Return the part that a turn or a computation belongs to; None if it belongs to no batch."""
    who = role(name)
    return ROLES.get(who) or next((part for part, kinds in PARTS.items() if (what, who, kind) in kinds), None)


def watching_loss(engine: WatchedThreads, size: int) -> Loss:
    """Return a loss that lets the engine take samples of all batches but the first ones."""
    first, last = WARM, WARM + BATCHES[size]
    return Loss(first, last, *(partial(setattr, engine, "counts", value) for value in (True, False)))


def by_part(engine: WatchedThreads, size: int) -> dict[str, list[tuple[str, str, str]]]:
    """Return the kinds of samples of each part; those that come less often than batches come by the clock."""
    often = [key for key, seen in engine.samples.items() if len(seen) >= BATCHES[size] / 2]
    return {part: [key for key in often if part_of(*key) == part] for part in PARTS}


def calls(size: int, workers: int) -> dict[str, Any]:
    """Return the calls per batch by part, of the bare computation and of the network."""
    counter = Counter()
    with counting(counter):
        engine = CountedThreads(workers, counter)
        with launched(engine, copy_every=10**9) as network:
            one_turn(network, size, watching_loss(engine, size))
    ours = {}
    for part, keys in by_part(engine, size).items():
        total = sum((engine.calls[key] for key in keys), NONE)
        ours[part] = Calls(*(each / BATCHES[size] for each in total))
    return {"bare": bare_calls(size), "ours": ours}


def parts(size: int, workers: int) -> dict[str, Figures]:
    """Return the microseconds per batch by part, of the bare computation and of the network."""
    engine = WatchedThreads(workers)
    with launched(engine) as network:
        one_turn(network, size, watching_loss(engine, size))
    samples = {part: [engine.samples[key] for key in keys] for part, keys in by_part(engine, size).items()}
    ours = {part: sum(median(took for _, took in each) for each in found) * 1e6 for part, found in samples.items()}
    return {"bare": bare_times(size), "ours": ours}


def pairs(size: int, workers: int, wanted: int = PAIRS) -> list[tuple[float, float]]:
    """Return the microseconds of a batch, in a plain loop and in the network, by pair of turns that counts."""
    model, data, counted = module(), batches(size), list[tuple[float, float]]()
    optimizer = SGD(model.parameters(), lr=LR)
    with launched(Threads(workers)) as network:
        for number in range(TRIES * wanted + 1):
            others, own, began = busy_seconds(), sum(os.times()[:2]), time.monotonic()
            turns = [Loss(WARM, WARM + BATCHES[size]) for _ in range(2)]

            def train(which: int, turns: Sequence[Loss] = turns, name: str = f"train{number}") -> None:
                plain(model, optimizer, data, turns[0]) if which == 0 else one_turn(network, size, turns[1], name)

            for which in (0, 1) if number % 2 else (1, 0):
                train(which)
            capacity = (time.monotonic() - began) * (os.cpu_count() or 1)
            foreign = (busy_seconds() - others - (sum(os.times()[:2]) - own)) / capacity
            if number and (foreign <= FOREIGN or wanted <= QUICK):  # the first one warms up
                counted.append((turns[0].microseconds, turns[1].microseconds))
            if len(counted) == wanted:
                break
    return counted
