"""Compares the simulation with reality: throughput and staleness on threads and on Ray, measured and predicted.

A network trains on a real engine, in a fresh process per configuration. Every turn, computation and wake-up of a worker
is timed by actor and kind of message; on Ray, the time of messages in transit as well. Then the same network, with
modules that compute almost nothing, trains on the simulation, with as many workers (for Ray, a processor per actor) and
with delays drawn from the measured ones. No number is fitted.

Examples:
  python -m benchmarks.prediction                # everything, a quarter of an hour; writes results.json and table.md
  python -m benchmarks.prediction --arm "seed, 1 in flight"    # one configuration, in this process; prints JSON
"""

import bisect
import itertools
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Delays, Ray, Stepped, scaling
from akkordeon.engines.simulation.delays import Delay
from benchmarks.common.apart import run_apart
from benchmarks.common.claims import parser, write_results, write_table
from benchmarks.common.streams import BATCHES, Batches, batches
from benchmarks.common.watched import Samples, WatchedThreads

HERE, PACKAGE = Path(__file__).parent, "benchmarks.prediction"
ROUNDS = 3
BATCH = 1024
WARM, EPOCHS = 2, 8
"""Epochs of warm-up, and all epochs."""

GOAL, NEAR_ZERO = 0.1, 0.1
"""Largest error of a prediction: relative, and absolute for a small staleness."""

NEAR = 2
"""Measurements before and after a moment that count as near it."""


@dataclass(frozen=True)
class Arm:
    """A configuration: the widths of the layers of each gate, and how the network runs.

    Args:
        layers: widths, gate by gate.
        in_flight: of the only sentinel.
        computations: of each gate at once.
        workers: of the threads engine; None is the engine on Ray.
    """

    layers: Sequence[Sequence[int]]
    in_flight: int
    computations: int = 1
    workers: int | None = 2

    @property
    def on_ray(self) -> bool:
        """Whether each actor has a process of its own."""
        return self.workers is None

    def data(self) -> Batches:
        """Make its loader."""
        return batches(BATCH, self.layers[0][0], self.layers[-1][-1])

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
    "Ray: chain of 3 equal gates, 1 in flight": Arm(EQUAL * 3, 1, workers=None),
    "Ray: chain of 3 equal gates, 4 in flight": Arm(EQUAL * 3, 4, workers=None),
    "Ray: middle gate 3 times slower": Arm(((256, 256), (256, 256, 256, 256), (256, 256)), 4, workers=None),
}


def layers(widths: Sequence[int]) -> nn.Module:
    """Make the module of a gate."""
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts[:-1] if widths[-1] == 10 else parts)


def stand_in(widths: Sequence[int]) -> nn.Module:  # noqa: ARG001
    """Make a module that computes almost nothing."""
    return nn.Linear(4, 4)


@dataclass(frozen=True)
class Figures:
    """Results of a run, between two moments."""

    throughput: float
    staleness: list[float]
    began: float
    ended: float


def train(
    gates: list[ak.Gate], data: Batches, in_flight: int, engine: Any, clock: Callable[[], float], epochs: int
) -> Figures:
    """Train, and count what comes after the first epochs."""
    ends, stale = [], []
    with ak.launch(gates, engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", data, cross_entropy, in_flight=in_flight, epochs=epochs + 1))
        for report in network.watch():
            ends.append(clock())
            stale.append([late.mean for late in report.staleness.values()])
            engine.counts = len(ends) >= WARM
            if len(ends) == epochs:
                engine.counts = False
                break
    counted = stale[WARM:]
    began, ended = ends[WARM - 1], ends[-1]
    staleness = [statistics.fmean(gate) for gate in zip(*counted, strict=True)]
    return Figures(BATCHES * len(counted) / (ended - began), staleness, began, ended)


def drawn_from(samples: Samples, what: str) -> Delay:
    """Draw from all that was measured; what was too rare to be seen takes no time."""

    def draw(source: random.Random, name: str, kind: str) -> float:
        seen = samples.get((what, name, kind))
        return source.choice(seen)[1] if seen else 0.0

    return draw


def drawn_near(samples: Samples, what: str, clock: Callable[[], float]) -> Delay:
    """Draw from what was measured at about the same moment: what slows a machine down slows all actors at once."""
    ends = [when for key, seen in samples.items() for when, _ in seen if key[0] != "wake"]
    began, lasted = min(ends), max(ends) - min(ends)

    def draw(source: random.Random, name: str, kind: str) -> float:
        if not (seen := samples.get((what, name, kind))):
            return 0.0
        place = bisect.bisect(seen, (began + clock() % lasted,)) + source.randrange(-NEAR, NEAR)
        return seen[min(max(place, 0), len(seen) - 1)][1]

    return draw


def predict(arm: Arm, samples: Samples, *, near: bool) -> Figures:
    """Train stand-ins on the simulation, with delays as measured."""

    def clock() -> float:
        return simulation.time

    draw = partial(drawn_near, clock=clock) if near else drawn_from
    parts = {part: draw(samples, part) for part in ("link", "turn", "work", "wake")}
    simulation: Stepped = Stepped(0, delays=Delays(**parts), workers=arm.workers)
    return train(arm.gates(stand_in), batches(2, 4, 4), arm.in_flight, simulation, clock, EPOCHS)


def on_threads(arm: Arm) -> tuple[Figures, Samples]:
    """Run a configuration on threads."""
    scaling.MANY = math.inf  # the simulation has no trials with one worker alone
    engine = WatchedThreads(arm.workers or 1)
    return train(arm.gates(layers), arm.data(), arm.in_flight, engine, time.perf_counter, EPOCHS), engine.samples


def on_ray(arm: Arm) -> tuple[Figures, Samples]:
    """Run a configuration on Ray."""
    with tempfile.TemporaryDirectory() as folder:
        engine = Ray(first=len(arm.layers) + 2)
        from benchmarks.prediction import watched_ray  # noqa: PLC0415 - imports Ray, which the engine must do first

        watched_ray.watch(Path(folder))
        real = train(arm.gates(layers), arm.data(), arm.in_flight, engine, time.perf_counter, EPOCHS)
        engine.close()
        return real, watched_ray.seen(Path(folder), real.began, real.ended)


def measure(name: str) -> dict[str, Any]:
    """Run a configuration on its engine, and on the simulation."""
    arm = ARMS[name]
    real, samples = on_ray(arm) if arm.on_ray else on_threads(arm)
    near, independent = (predict(arm, samples, near=near) for near in (True, False))
    means = {
        " ".join(key): [len(seen), statistics.fmean(each for _, each in seen) * 1e6]
        for key, seen in sorted(samples.items())
    }
    return {"real": vars(real), "near": vars(near), "independent": vars(independent), "means": means}


def row(arm: str, rounds: list[dict[str, Any]]) -> str:
    """Return a row of the table: medians over the rounds; figures that miss the goal are bold."""
    mine = [each[arm] for each in rounds]
    throughput = statistics.median(each["real"]["throughput"] for each in mine)
    cells = [arm, f"{throughput:.0f}"]
    for kind in ("near", "independent"):
        off = statistics.median(each[kind]["throughput"] / each["real"]["throughput"] - 1 for each in mine)
        cells.append(emphasized(f"{off:+.1%}", missed=abs(off) > GOAL))
    gates = range(len(ARMS[arm].layers))
    real, near, independent = (
        [statistics.median(each[kind]["staleness"][gate] for each in mine) for gate in gates]
        for kind in ("real", "near", "independent")
    )
    cells.append(" ".join(f"{each:.2f}" for each in real))
    for predicted in (near, independent):
        pairs = zip(predicted, real, strict=True)
        cells.append(" ".join(emphasized(f"{p:.2f}", missed=abs(p - r) > max(GOAL * r, NEAR_ZERO)) for p, r in pairs))
    return "| " + " | ".join(cells) + " |"


def emphasized(text: str, *, missed: bool) -> str:
    return f"**{text}**" if missed else text


def measure_all() -> list[dict[str, Any]]:
    """Measure all configurations in turns, several times."""
    rounds = []
    for number in range(ROUNDS):
        results = {arm: run_apart(PACKAGE, arm) for arm in ARMS}
        rounds.append({arm: {**figures, "foreign": foreign} for arm, (figures, foreign) in results.items()})
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    return rounds


def lines(rounds: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the table."""
    # The processes of Ray are no children of this one, and would count as other processes.
    foreign = [each["foreign"] for one in rounds for arm, each in one.items() if not ARMS[arm].on_ray]
    about = (
        f"Batch {BATCH}, SGD; medians of {len(rounds)} rounds of {EPOCHS - WARM} epochs of {BATCHES} batches; "
        f"staleness by gate, in the order of the chain. Others used {min(foreign):.0%} to {max(foreign):.0%} of CPU. "
        f"Figures that miss the goal of {GOAL:.0%}, or {NEAR_ZERO} of staleness, are bold."
    )
    names = ["configuration", "batches/s", "near", "independent", "staleness", "near", "independent"]
    head = ["| " + " | ".join(names) + " |", "| " + " | ".join(["---"] * len(names)) + " |"]
    return [about, "", *head, *(row(arm, rounds) for arm in ARMS)]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--arm", choices=list(ARMS), metavar="ARM", help="measure this alone, in this process")
    arm = options.parse_args(arguments).arm
    if arm:
        print(json.dumps(measure(arm)))
        return
    rounds = measure_all()
    write_results(HERE, rounds)
    write_table(HERE, lines(rounds))
