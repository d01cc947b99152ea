"""Measures what it costs to record a run: run folder, table and TensorBoard at once, against recording nothing.

Three gates, 784-50-20-10 with SGD, batches of 64, four in flight, on the threads engine with two workers. Each arm
runs in a fresh process, one after the other, in changing order; a pair in which other processes used more than 5 % of
the CPU is void. The figure is the ratio of the times of a batch, recorded to not.

Examples:
  python -m benchmarks.stream             # ten minutes on a quiet machine; writes results.json and table.md
  python -m benchmarks.stream --pairs 4   # fewer pairs; prints, and writes nothing
  python -m benchmarks.stream --arm all   # one arm, in this process; prints JSON
"""

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Threads
from benchmarks.common.apart import FOREIGN, run_apart, with_interval
from benchmarks.common.claims import parser, write_results, write_table
from benchmarks.common.models import perceptron, vectors

HERE, PACKAGE = Path(__file__).parent, "benchmarks.stream"
ARMS = ("none", "all")
PAIRS, TRIES = 30, 3
SIZE, BATCHES, WARM, EPOCHS = 64, 500, 2, 16
"""Samples of a batch, batches of an epoch, epochs before it counts, and epochs that count."""


def recorded(arm: str, folder: Path) -> dict[str, Any]:
    """Return the settings of `launch` for an arm."""
    if arm == "none":
        return {}
    return {"run": folder / "run", "sinks": [ak.Csv(folder / "all.csv"), ak.TensorBoard(folder / "tb")]}


def train(arm: str) -> float:
    """Return the microseconds of a batch."""
    torch.manual_seed(0)
    few = [vectors(SIZE)() for _ in range(4)]
    data = [few[number % len(few)] for number in range(BATCHES)]
    gates = [ak.Gate(f"gate{n}", each, partial(SGD, lr=0.01)) for n, each in enumerate(perceptron(784, 50, 20, 10)())]
    began = 0.0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        network = stack.enter_context(ak.launch(gates, engine=Threads(2), **recorded(arm, folder)))
        sentinel = ak.TrainingSentinel("train", lambda: data, cross_entropy, in_flight=4, epochs=WARM + EPOCHS)
        network.attach(sentinel)
        for report in network.watch():
            if report.epoch == WARM:
                began = time.perf_counter()
        return (time.perf_counter() - began) / (EPOCHS * BATCHES) * 1e6


def pairs(wanted: int) -> list[tuple[float, float]]:
    """Return the microseconds of a batch of both arms, for each pair that counts."""
    counted: list[tuple[float, float]] = []
    for number in range(TRIES * wanted):
        order = ARMS if number % 2 else ARMS[::-1]
        found = {arm: run_apart(PACKAGE, arm) for arm in order}
        foreign = max(share for _, share in found.values())
        if foreign <= FOREIGN:
            counted.append((found["none"][0]["took"], found["all"][0]["took"]))
            print(f"pair {len(counted)}: {counted[-1][1] / counted[-1][0]:.3f}", flush=True)
        if len(counted) == wanted:
            break
    return counted


def lines(counted: Sequence[tuple[float, float]]) -> list[str]:
    """Return the lines of the table."""
    ratios = [recording / plain for plain, recording in counted]
    more = [(recording - plain) / 3 for plain, recording in counted]
    return [
        "784-50-20-10 in three gates, SGD, batches of 64, four in flight, two workers; medians, 95 % intervals.",
        "",
        "| pairs | time of a batch, all recorded to nothing | µs more per batch and gate |",
        "| ---: | ---: | ---: |",
        f"| {len(counted)} | {with_interval(ratios, '.3f')} | {with_interval(more, '.1f')} |",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--pairs", type=int, default=PAIRS, help=f"how many; other than {PAIRS} writes nothing")
    options.add_argument("--arm", choices=ARMS, help="measure this alone, in this process; print JSON")
    chosen = options.parse_args(arguments)
    if chosen.arm:
        print(json.dumps({"took": train(chosen.arm)}))
        return
    counted = pairs(chosen.pairs)
    if chosen.pairs != PAIRS:
        print("\n".join(lines(counted)))
        return
    write_results(HERE, {"microseconds": counted})
    write_table(HERE, lines(counted))
