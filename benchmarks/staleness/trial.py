"""Makes one training run with chosen delays, from initial weights to figures."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from akkordeon.errors import AkkordeonError
from akkordeon.messages.reports import Report
from akkordeon.network.launching import launch
from akkordeon.network.network import Network
from akkordeon.sentinel.description import TrainingSentinel
from benchmarks.staleness.arms import SYNCHRONOUS, arms
from benchmarks.staleness.profiles import QUEUE, profile
from benchmarks.staleness.tasks import TASKS, Stream, Task, evaluate

HOPELESS = 3.0
"""Factor on the first loss above which a run counts as diverged."""


@dataclass(frozen=True)
class Trial:
    """A run in plain values, to send to another process.

    Args:
        task: name of one.
        profile: of delays: its name and its arguments.
        family: of the arm.
        arm: the way to train.
        lr: learning rate.
        seed: of initial weights, order of batches and everything else.
        updates: batches to train with.
        points: evaluations on held-out data during training.
        final: whether to evaluate on the test data.
        warm_up: updates over which the learning rate rises; 0 keeps it constant.
    """

    task: str
    profile: tuple[Any, ...]
    family: str
    arm: str
    lr: float
    seed: int
    updates: int
    points: int = 1
    final: bool = False
    warm_up: int = 0


@dataclass(frozen=True)
class Outcome:
    """The figures of a run.

    Args:
        loss: of training, over its last tenth; infinite where it diverged.
        held_out: loss on held-out data.
        accuracy: on held-out data.
        staleness: mean over the second half, by gate.
        curve: updates, and loss and accuracy on held-out data after them.
        seconds: of the run.
    """

    loss: float
    held_out: float
    accuracy: float
    staleness: tuple[float, ...]
    seconds: float
    curve: tuple[tuple[int, float, float], ...] = field(default=(), repr=False)

    @property
    def diverged(self) -> bool:
        """Whether the loss is infinite."""
        return not math.isfinite(self.loss)

    def reached(self, accuracy: float) -> float:
        """Return the updates until it first had an accuracy; infinite if it never did."""
        return next((float(update) for update, _, found in self.curve if found >= accuracy), math.inf)

    def reached_loss(self, loss: float) -> float:
        """Return the updates until the held-out loss was first this low, interpolated between points."""
        before = (0, math.inf)
        for update, found, _ in self.curve:
            if found <= loss:
                share = 1.0 if math.isinf(before[1]) else (before[1] - loss) / (before[1] - found)
                return before[0] + share * (update - before[0])
            before = (update, found)
        return math.inf


def run(trial: Trial) -> Outcome:
    """Train, on one thread.

    Raises:
        DataUnavailable: the data of the task are missing.
    """
    began = time.perf_counter()
    task = TASKS[trial.task]
    task.held_out()  # from here on, an error counts as divergence
    torch.manual_seed(trial.seed)
    modules = task.modules()
    late = profile(*trial.profile)
    if trial.arm == SYNCHRONOUS:
        late = late.synchronous()
    arm = arms(trial.family)[trial.arm]
    gates = arm.gates(modules, trial.lr, trial.updates, warm_up=trial.warm_up)
    epochs = max(10, trial.points)
    last = epochs - round(arm.finish * epochs) if arm.finish else 0
    stream = Stream(task.train(trial.seed), trial.updates // epochs)
    reports: list[Report] = []
    curve: list[tuple[int, float, float]] = []
    with launch(late.gates(gates), engine=late.engine(trial.seed)) as network:
        sentinel = TrainingSentinel(
            "train", lambda: stream, cross_entropy, in_flight=late.in_flight, epochs=epochs, seed=trial.seed
        )
        network.attach(sentinel)
        try:
            curve += [
                (report.epoch * len(stream), *_held_out(network, modules, task, trial))
                for report in _until_hopeless(network, reports, last)
                if report.epoch * trial.points % epochs < trial.points
            ]
        except AkkordeonError:
            reports.clear()
    if len(reports) < epochs:
        return Outcome(math.inf, math.inf, 0.0, (), time.perf_counter() - began)
    return _outcome(reports, curve, time.perf_counter() - began)


def _until_hopeless(network: Network, reports: list[Report], last: int) -> Iterator[Report]:
    """Yield reports until training ends or diverges; train synchronously after epoch `last`, unless it is 0."""
    for report in network.watch():
        reports.append(report)
        if report.epoch == last:
            network.set("train", in_flight=1)
        if not report.loss < HOPELESS * reports[0].loss + HOPELESS:
            return
        yield report


def _held_out(network: Network, modules: list[nn.Module], task: Task, trial: Trial) -> tuple[float, float]:
    """Return loss and accuracy with the current weights."""
    model = nn.Sequential(*modules)
    weights = {name: each for name, each in network.state_dict().items() if not name.startswith(QUEUE)}
    model.load_state_dict(weights)
    before = torch.get_rng_state()
    figures = evaluate(model, task.test() if trial.final else task.held_out())
    torch.set_rng_state(before)
    return figures


def _outcome(reports: list[Report], curve: list[tuple[int, float, float]], seconds: float) -> Outcome:
    tenth = reports[-max(1, len(reports) // 10) :]
    half = reports[len(reports) // 2 :]
    gates = [gate for gate in half[0].staleness if gate != QUEUE]
    staleness = tuple(
        fmean(report.staleness[gate].mean for report in half if gate in report.staleness) for gate in gates
    )
    loss = sum(report.loss for report in tenth) / len(tenth)
    held_out, accuracy = curve[-1][1:] if curve else (math.inf, 0.0)
    if not math.isfinite(loss):
        held_out = math.inf
    return Outcome(loss, held_out, accuracy, staleness, seconds, tuple(curve))
