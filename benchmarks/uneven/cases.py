"""Defines the uneven conditions, and how each arm copes with them."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.utils.data import DataLoader, IterableDataset

import akkordeon as ak
from akkordeon.engines import Threads
from benchmarks.common.loops import COMPUTATIONS, EPOCHS, IN_FLIGHT, LR, WARM_UP, Data, actors, gates, plain, train
from benchmarks.common.models import MODELS, Batch, Model
from benchmarks.common.processes import staged
from benchmarks.uneven.paced import BACKWARD, FORWARD, paced

Figures = Mapping[str, float]
Measure = Callable[[], float | list[float] | dict[str, float]]
"""Returns a figure, one per epoch, or several by name; the name follows that of the arm in the table."""

Source = Callable[[str], tuple[Model, Data]]


@dataclass(frozen=True)
class Case:
    """An uneven condition.

    Args:
        title: in the table.
        arms: the measurement of each arm.
        question: the meaning of `ratio`.
        ratio: computed from the figures of a round.
        target: for the ratio.
        unit: of the figures of the arms.
        also: a second question about them, and its ratio.
    """

    title: str
    arms: Mapping[str, Measure]
    question: str
    ratio: Callable[[Figures], float]
    target: str
    unit: str = "s per epoch"
    also: tuple[str, Callable[[Figures], float]] | None = None

    def written(self, arm: str, figures: tuple[float, float, float]) -> str:
        """Format a figure with its interval."""
        middle, low, high = figures
        unit = self.unit if arm in self.arms else ""
        return f"{middle:.4f} ({low:.4f} - {high:.4f}) {unit}".strip()


PLAIN = {"plain, 1 thread": 1, "plain, 2 threads": 2}


def ahead(figures: Figures) -> float:
    """Return the throughput of akkordeon to that of plain PyTorch at its best."""
    return min(figures[arm] for arm in PLAIN) / figures["akkordeon"]


# A process that keeps a core busy


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy."""
    core = max(os.sched_getaffinity(0))
    spin = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", spin])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def beside(measure: Callable[[], list[float]]) -> list[float]:
    """Measure beside a process that keeps a core busy."""
    with busy_core():
        return measure()


def ready(name: str) -> tuple[Model, Data]:
    """Return a model and its batches in memory."""
    data = MODELS[name].data()
    return MODELS[name], lambda: data


def more_actors(model: Model, data: Data) -> list[float]:
    """Train with one worker more than there are cores, to get a larger share of the busy one, and with more batches.

    While one worker waits for the busy core, the others need batches to compute.
    """
    return actors(model, data, in_flight=8, computations=3, engine=Threads(3))


def foreign(name: str) -> Case:
    """Return the case of a model."""
    arms: dict[str, Measure] = {
        arm: lambda threads=threads: beside(lambda: plain(*ready(name), threads))  # type: ignore[misc]
        for arm, threads in PLAIN.items()
    }
    arms["akkordeon"] = lambda: beside(lambda: more_actors(*ready(name)))
    return Case(f"{name}, another process on one core", arms, "throughput to plain at its best", ahead, ">= 1.5")


# A loader that stalls

STALLS, LEAST, MOST = 0.3, 0.005, 0.05
"""Share of the batches that are late, and by how many seconds at least and at most."""

STRETCH = 10
"""Epochs after which the same batches are late again. As many epochs are compared with and without validation."""

SLOW_LOADER = 1.0
"""Share of late batches of a loader that is slower than training."""


class Stalling(IterableDataset[Batch]):
    """The batches of a model, some of them late: other ones in each epoch, the same delay over each stretch."""

    def __init__(self, model: Model, stalls: float) -> None:
        self._data = model.data()
        self._stalls = stalls
        self._epoch = 0

    def __iter__(self) -> Iterator[Batch]:
        self._epoch += 1
        random = torch.Generator().manual_seed(self._epoch % STRETCH)
        for batch in self._data:
            chance, share = torch.rand(2, generator=random).tolist()
            if chance < self._stalls:
                time.sleep(LEAST + share * (MOST - LEAST))  # noqa: TID251 - this is what is measured
            yield batch


def stalling(name: str, processes: int = 0, stalls: float = STALLS) -> tuple[Model, Data]:
    """Return a model and batches of which some are late."""
    dataset = Stalling(MODELS[name], stalls)
    if not processes:
        return MODELS[name], lambda: dataset
    loader: DataLoader[Batch] = DataLoader(dataset, batch_size=None, persistent_workers=True, num_workers=processes)
    return MODELS[name], lambda: loader


def stalls(name: str) -> Case:
    """Return the case of a model; the plain loop has a process that prefetches."""
    arms: dict[str, Measure] = {
        arm: partial(lambda threads: plain(*stalling(name, processes=1), threads), threads)
        for arm, threads in PLAIN.items()
    }
    arms["akkordeon"] = lambda: actors(*stalling(name))
    return Case(f"{name}, a loader that stalls", arms, "throughput to plain at its best", ahead, ">= 1.2")


# Validation while training

EVERY, VALIDATION = 2.0, 2.0
"""Seconds between two validations, and the batches of one, in epochs of training data."""


def held_out(model: Model) -> list[Batch]:
    """Return the batches of a validation."""
    return replace(model, batches=round(VALIDATION * model.batches)).data()


MADE = ", validations made"
"""Name of the second figure of an arm."""


def validating_loop(model: Model, data: Data, threads: int) -> dict[str, float]:
    """Return the time lost to validations, as a share of the time without any, and their number."""
    torch.set_num_threads(threads)
    module = nn.Sequential(*model.modules())
    optimizer = SGD(module.parameters(), lr=LR)
    validation = held_out(model)
    made = 0

    def epochs(every: float) -> float:
        nonlocal made
        began = validated = time.perf_counter()
        for _ in range(STRETCH):
            train(module, optimizer, data())
            if time.perf_counter() - validated > every:
                made += 1
                validated = time.perf_counter()
                module.eval()
                with torch.no_grad():
                    sum(cross_entropy(module(x), target).item() for x, target in validation)
                module.train()
        return time.perf_counter() - began

    for _ in range(WARM_UP):
        train(module, optimizer, data())
    alone = epochs(float("inf"))
    return {"": epochs(EVERY) / alone - 1, MADE: made}


def validating_actors(model: Model, data: Data) -> dict[str, float]:
    """Return the same for a training and a validation sentinel; a validation under way counts in part."""
    validation = held_out(model)
    training = ak.TrainingSentinel("train", data, cross_entropy, in_flight=IN_FLIGHT, epochs=WARM_UP + 2 * STRETCH)
    with ak.launch(gates(model)) as network:
        network.attach(training)
        came: list[float] = []
        for report in network.watch():
            if report.sentinel != "train":
                continue
            came.append(time.perf_counter())
            if len(came) == WARM_UP + STRETCH:
                network.attach(
                    ak.ValidationSentinel("validate", lambda: validation, cross_entropy, every=EVERY, in_flight=1)
                )
            if len(came) == WARM_UP + 2 * STRETCH:
                break
        (done,) = (each.done for each in network.status().sentinels if each.name == "validate")
    begin, middle, end = came[WARM_UP - 1], came[WARM_UP + STRETCH - 1], came[-1]
    return {"": (end - middle) / (middle - begin) - 1, MADE: done / len(validation)}


def lost(figures: Figures) -> float:
    """Return the time that akkordeon loses to that of the fastest plain loop."""
    return figures["akkordeon"] / min(figures[arm] for arm in PLAIN)


def lost_by_each(figures: Figures) -> float:
    """Return the same per validation."""
    least = min(PLAIN, key=figures.__getitem__)
    ours, theirs = (figures[arm] / figures[arm + MADE] for arm in ("akkordeon", least))
    return ours / theirs


def validation(
    name: str, what: str, source: Callable[..., tuple[Model, Data]], loop: Callable[..., tuple[Model, Data]]
) -> Case:
    """Return the case of a model, with one kind of loader."""
    arms: dict[str, Measure] = {
        arm: partial(lambda threads: validating_loop(*loop(name), threads), threads) for arm, threads in PLAIN.items()
    }
    arms["akkordeon"] = lambda: validating_actors(*source(name))
    title = f"{name}, validation every {EVERY:g} s, {what}"
    question, also = "time lost to that of the loop", ("time lost per validation, to the loop", lost_by_each)
    return Case(title, arms, question, lost, "<= 0.33", "of the time without validation", also)


# A slow machine

SLOWNESS = (1.0, 1.0, 3.0, 1.0)
PIECES = (4, 8, 16)
"""Micro-batches of a pipeline; at least one per stage."""


def slow_actors() -> float:
    """Return the throughput of the network as a share of that of its slowest gate, over all epochs that count.

    Epochs overlap: the time between the ends of two of them may be off by a batch, so all are measured together.
    """
    model = paced(*SLOWNESS)
    data = model.data()
    sentinel = ak.TrainingSentinel("train", lambda: data, cross_entropy, in_flight=8, epochs=WARM_UP + EPOCHS + 1)
    chain = gates(model)
    with ak.launch(chain, engine=Threads(COMPUTATIONS * len(chain))) as network:
        network.attach(sentinel)
        came = [time.perf_counter() for _ in network.watch()]
    return share((came[-1] - came[WARM_UP]) / EPOCHS)


def share(seconds: float) -> float:
    """Return the share of the time of an epoch in which the slowest machine is busy."""
    return paced(*SLOWNESS).batches * max(SLOWNESS) * (FORWARD + BACKWARD) / seconds


def slow_stages(kind: str, pieces: int) -> float:
    """Return the same for a pipeline of processes."""
    return share(median(staged(paced(*SLOWNESS), kind, pieces)))


SLOW = Case(
    "four machines, one of them three times slower",
    {
        "akkordeon": slow_actors,
        **{
            f"{kind}, {pieces} micro-batches": partial(slow_stages, kind, pieces)
            for kind, pieces in itertools.product(("gpipe", "1f1b"), PIECES)
        },
    },
    "share of the slow gate's own throughput",
    lambda figures: figures["akkordeon"],
    ">= 0.95",
    "of the slow gate's throughput",
)

CASES = {
    "foreign-cnn": foreign("cnn-64"),
    "foreign-mlp": foreign("mlp-1024"),
    "stalls": stalls("cnn-64"),
    "validation": validation("cnn-64", "batches in memory", ready, ready),
    "validation-slow-loader": validation(
        "cnn-64",
        "a slow loader",
        partial(stalling, stalls=SLOW_LOADER),
        partial(stalling, processes=1, stalls=SLOW_LOADER),
    ),
    "slow": SLOW,
}
