"""Measures the cost of each compensation in time: 784-50-20-10 on MNIST, batch 1024, five in flight, on threads.

Each compensation is compared with its base optimizer alone. Both train in turns in one fresh process, a few epochs at a
time, and the ratio of each pair of turns counts. Several batches are in flight, so that there is staleness to
compensate. Beside wall-clock time stands processor time, which other processes on the machine disturb less.

Examples:
  python -m benchmarks.compensation_overhead                 # half an hour; writes results.json and table.md
  python -m benchmarks.compensation_overhead --only spike    # one compensation; writes nothing
"""

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW

import akkordeon as ak
from benchmarks.common.apart import run_apart
from benchmarks.common.claims import parser, write_results, write_table
from benchmarks.staleness.tasks import TASKS

HERE, PACKAGE = Path(__file__).parent, "benchmarks.compensation_overhead"
MOMENTUM, PLAIN, ADAMW = partial(SGD, lr=1e-3, momentum=0.9), partial(SGD, lr=1e-3), partial(AdamW, lr=1e-4)
RECOMPUTED = {"activations": "recomputed"}

CASES: dict[str, tuple[Callable[..., Any], Sequence[ak.Compensation], dict[str, Any]]] = {
    "nothing": (MOMENTUM, [], {}),
    "delay compensation, adaptive": (PLAIN, [ak.DelayCompensation()], {}),
    "delay compensation, constant": (PLAIN, [ak.DelayCompensation(adaptive=False)], {}),
    "spike": (MOMENTUM, [ak.SpikeCompensation()], {}),
    "spike, AdamW": (ADAMW, [ak.SpikeCompensation()], {}),
    "linear prediction": (MOMENTUM, [ak.WeightPrediction()], {}),
    "linear prediction, AdamW": (ADAMW, [ak.WeightPrediction()], {}),
    "decaying prediction": (MOMENTUM, [ak.WeightPrediction("decaying")], {}),
    "last step predicted": (MOMENTUM, [ak.WeightPrediction("last step")], {}),
    "linear and spike": (MOMENTUM, [ak.WeightPrediction(), ak.SpikeCompensation()], {}),
    "Gap-Aware": (MOMENTUM, [ak.GapAware()], {}),
    "gradient energy matching": (PLAIN, [ak.GradientEnergyMatching()], {}),
    "rate by staleness": (MOMENTUM, [ak.StalenessScaledRate()], {}),
    "rate rescheduling": (MOMENTUM, [ak.RateRescheduling()], {}),
    "staleness limit": (MOMENTUM, [ak.StalenessLimit(20)], {}),
    "discrepancy correction": (MOMENTUM, [ak.DiscrepancyCorrection()], RECOMPUTED),
}
PAIRS, EPOCHS, BATCHES = 11, 4, 54

HEAD = (
    "| compensation | time with it to without, median | first to third quartile | processor time, median | quartiles |",
    "| --- | ---: | ---: | ---: | ---: |",
)


def spread(ratios: list[float]) -> str:
    """Return the median and the quartiles as two cells of a table."""
    low, middle, high = quantiles(ratios, n=4)
    return f"{middle:.3f} | {low:.3f} … {high:.3f}"


def measure(name: str) -> list[list[float]]:
    """Return the ratios of wall-clock time, pair by pair, and those of processor time."""
    stream = TASKS["mnist-1024"].train(0)
    data = [next(stream) for _ in range(BATCHES)]
    optimizer, compensation, settings = CASES[name]
    sides = [launch(optimizer, (), settings), launch(optimizer, compensation, settings)]
    ratios: list[list[float]] = []
    for number in range(PAIRS + 1):
        times = [train(sides[side], data, number) for side in ((0, 1) if number % 2 else (1, 0))]
        without, with_it = times if number % 2 else times[::-1]
        ratios.append([b / a for a, b in zip(without, with_it, strict=True)])
    for side in sides:
        side.close()
    return [list(each) for each in zip(*ratios[1:], strict=True)]


def launch(
    optimizer: Callable[..., Any], compensation: Sequence[ak.Compensation], settings: dict[str, Any]
) -> ak.Network:
    torch.manual_seed(0)
    modules: list[nn.Module] = TASKS["mnist-1024"].modules()
    gates = [ak.Gate(str(n), each, optimizer, compensation, **settings) for n, each in enumerate(modules)]
    return ak.launch(gates)


def train(network: ak.Network, data: Any, number: int) -> tuple[float, float]:
    """Return the wall-clock seconds and the processor seconds of a few epochs."""
    began, worked = time.perf_counter(), time.process_time()
    network.attach(ak.TrainingSentinel(f"train{number}", lambda: data, cross_entropy, in_flight=5, epochs=EPOCHS))
    for _ in network.watch():
        pass
    return time.perf_counter() - began, time.process_time() - worked


def row(name: str, ratios: Sequence[list[float]]) -> str:
    """Return a row of the table."""
    return f"| {name} | {' | '.join(spread(each) for each in ratios)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--only", choices=CASES, metavar="CASE", help="measure this alone; write nothing")
    options.add_argument("--arm", choices=CASES, metavar="CASE", help="measure this in this process; print JSON")
    chosen = options.parse_args(arguments)
    if chosen.arm:
        print(json.dumps({"ratios": measure(chosen.arm)}))
        return
    results = {}
    for name in [chosen.only] if chosen.only else CASES:
        results[name] = run_apart(PACKAGE, name)[0]["ratios"]
        print(row(name, results[name]), flush=True)
    if not chosen.only:
        write_results(HERE, results)
        write_table(HERE, [*HEAD, *(row(name, ratios) for name, ratios in results.items())])
