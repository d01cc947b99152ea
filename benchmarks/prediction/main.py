"""The simulation against reality: throughput and staleness of the threads engine, measured and predicted.

In a fresh process per configuration, a network trains on the threads engine, and every turn, computation and waking of
a worker is timed by actor and kind of message. Then the same description, with modules that do next to nothing, trains
on the simulation, which draws its delays from what was measured. Nothing else is fitted.

    python benchmarks/prediction/main.py                  # everything; writes table.md and figures.json beside this file
    python benchmarks/prediction/main.py --arm "chain"    # one configuration, in this process; prints JSON
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Delays, Stepped, Threads
from akkordeon.engines.delays import Delay
from akkordeon.engines.pool import Lane, Seat, Worker

HERE = Path(__file__).parent
ROUNDS = 3
BATCH = 1024
BATCHES = 60
WARM, EPOCHS = 2, 8
"""Epochs that are not counted, and all."""

VIRTUAL_EPOCHS = 8
FOREIGN = 0.05
"""Share of the CPU that others may take before a run is void."""

Samples = dict[tuple[str, str, str], list[float]]
"""Seconds by what took them ("turn", "work", "wake"), actor and kind."""


@dataclass(frozen=True)
class Arm:
    """A configuration: how wide the layers of each gate are, and how the network runs."""

    layers: Sequence[Sequence[int]]
    in_flight: int
    computations: int = 1
    workers: int = 2

    def gates(self, make: Callable[[Sequence[int]], nn.Module]) -> list[ak.Gate]:
        """Describe the gates, with modules of the given kind."""
        return [
            ak.Gate(f"g{number}", make(widths), partial(SGD, lr=0.01), computations=self.computations)
            for number, widths in enumerate(self.layers)
        ]


SEED = ((784, 50), (50, 20), (20, 10))
EQUAL = ((256, 256),)

ARMS = {
    "seed, 1 in flight": Arm(SEED, 1),
    "seed, 4 in flight": Arm(SEED, 4),
    "seed, 8 in flight": Arm(SEED, 8),
    "seed, 4 in flight, 2 computations": Arm(SEED, 4, computations=2),
    "seed, 4 in flight, 1 worker": Arm(SEED, 4, workers=1),
    "middle gate 3 times slower": Arm(((256, 256), (256, 256, 256, 256), (256, 256)), 4),
    "chain of 6 equal gates": Arm(EQUAL * 6, 6),
}


class WatchedWorker(Worker):
    """Times turns and computations, each with what the engine does around it, and how long it takes to wake."""

    def _pick(self) -> Seat | None:
        engine = self._engine
        assert isinstance(engine, WatchedThreads)
        sleeps = self.next is None and not self.lane.ready
        seat = super()._pick()
        if sleeps and seat is not None:
            engine.note("wake", seat.name, "wake", engine.put_at[seat.name])
        return seat

    def _take_turns(self, seat: Seat) -> None:
        engine = self._engine
        assert isinstance(engine, WatchedThreads)
        began = time.perf_counter()
        turn = engine.begin_turn(seat)
        while turn is not None:
            function, arguments = turn
            function(*arguments)
            kind = seat.kind
            job = engine.finish_turn(seat)
            began = engine.note("turn", seat.name, kind, began)
            if job is None:
                return
            if self.next is not None:
                kept, self.next = self.next, None
                engine.hand_over(kept)
            job.run()
            turn = engine.finish_job(seat, job)
            began = engine.note("work", seat.name, kind, began)


class WatchedThreads(Threads):
    """The threads engine with a watch."""

    def __init__(self, workers: int) -> None:
        self.samples: Samples = defaultdict(list)
        self.counts = False
        self.put_at: dict[str, float] = {}
        super().__init__(workers)

    def note(self, what: str, name: str, kind: str, began: float) -> float:
        """Note how long something took; return the time."""
        now = time.perf_counter()
        if self.counts:
            self.samples[what, name, kind].append(now - began)
        return now

    def hand_over(self, seat: Seat) -> None:
        """Note when."""
        self.put_at[seat.name] = time.perf_counter()
        super().hand_over(seat)

    def _schedule(self, seat: Seat) -> None:
        self.put_at[seat.name] = time.perf_counter()
        super()._schedule(seat)

    def _go_on_with(self, seat: Seat) -> None:
        worker = threading.current_thread()
        if isinstance(worker, Worker) and worker.next is not None:
            self.put_at[worker.next.name] = time.perf_counter()
        super()._go_on_with(seat)

    def _start_worker(self, lane: Lane, name: str) -> None:
        worker = WatchedWorker(self, lane, name)
        self._workers = [*(worker for worker in self._workers if worker.is_alive()), worker]
        worker.start()


def layers(widths: Sequence[int]) -> nn.Module:
    """Make the module of a gate."""
    parts: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts[:-1] if widths[-1] == 10 else parts)


def stand_in(widths: Sequence[int]) -> nn.Module:  # noqa: ARG001
    """Make a module that costs next to nothing."""
    return nn.Linear(4, 4)


def batches(size: int, features: int, classes: int) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """Make a loader of batches that are ready in memory."""
    torch.manual_seed(0)
    x, target = torch.rand(BATCHES * size, features), torch.randint(0, classes, (BATCHES * size,))
    return lambda: iter(zip(torch.split(x, size), torch.split(target, size), strict=True))


@dataclass(frozen=True)
class Figures:
    """What a run yields."""

    throughput: float
    staleness: list[float]


def train(
    gates: list[ak.Gate], data: Any, in_flight: int, engine: Any, clock: Callable[[], float], epochs: int
) -> Figures:
    """Train, and count what comes after the first epochs."""
    ends, stale = [], []
    with ak.launch(gates, engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", data, cross_entropy, in_flight=in_flight, epochs=epochs + 1))
        for report in network.watch():
            ends.append(clock())
            stale.append(list(report.staleness.values()))
            engine.counts = len(ends) >= WARM
            if len(ends) == epochs:
                engine.counts = False
                break
    counted = stale[WARM:]
    throughput = BATCHES * len(counted) / (ends[-1] - ends[WARM - 1])
    return Figures(throughput, [statistics.fmean(gate) for gate in zip(*counted, strict=True)])


def drawn_from(samples: Samples, what: str) -> Delay:
    """Draw from what was measured; what was too rare to be seen takes no time."""

    def draw(source: random.Random, name: str, kind: str) -> float:
        seen = samples.get((what, name, kind))
        return source.choice(seen) if seen else 0.0

    return draw


def measure(name: str) -> dict[str, Any]:
    arm = ARMS[name]
    engine = WatchedThreads(arm.workers)
    data = batches(BATCH, arm.layers[0][0], arm.layers[-1][-1])
    real = train(arm.gates(layers), data, arm.in_flight, engine, time.perf_counter, EPOCHS)
    samples = engine.samples
    delays = Delays(link=0.0, turn=drawn_from(samples, "turn"), work=drawn_from(samples, "work"),
                    wake=drawn_from(samples, "wake"))
    simulation = Stepped(0, delays=delays, workers=arm.workers)
    predicted = train(
        arm.gates(stand_in), batches(2, 4, 4), arm.in_flight, simulation, lambda: simulation.time, VIRTUAL_EPOCHS
    )
    means = {" ".join(key): [statistics.fmean(each) * 1e6, len(each)] for key, each in sorted(samples.items())}
    return {"real": vars(real), "predicted": vars(predicted), "means": means}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=list(ARMS), help="measure this configuration alone, in this process")
    chosen = parser.parse_args().arm
    print(json.dumps(measure(chosen)))
