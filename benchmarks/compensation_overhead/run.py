"""What each compensation costs: the seed's network on MNIST, batch 1024, five in flight, on the threads engine.

Each compensation is compared with its own base optimizer without it: both train in turns in one fresh process, a few
epochs at a time, and the ratio of each pair of turns counts. In flight, so that there is something to compensate.
Beside the time on the clock stands the processors', of which a machine that is shared with others takes less away.

    python benchmarks/staleness/overhead.py                 # writes overhead.md
    python benchmarks/staleness/overhead.py --only spike
"""

import argparse
import subprocess
import sys
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
from akkordeon.bench.tasks import TASKS

HERE = Path(__file__).parent
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES, help="one of them, without writing the table")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        for ratios in measure(options.case):
            print(*ratios)
        return
    lines = [
        "| compensation | time with it to without, median | quarter to three quarters | processor time, likewise | |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in [options.only] if options.only else CASES:
        command = [sys.executable, __file__, "--case", name]
        measured = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        columns = [spread([float(each) for each in line.split()]) for line in measured.splitlines()]
        lines.append(f"| {name} | {' | '.join(columns)} |")
        print(lines[-1], flush=True)
    if not options.only:
        (HERE / "overhead.md").write_text("\n".join(lines) + "\n")


def spread(ratios: list[float]) -> str:
    """Return the median, and the quarters beside it, as two cells of a table."""
    low, middle, high = quantiles(ratios, n=4)
    return f"{middle:.3f} | {low:.3f} … {high:.3f}"


def measure(name: str) -> list[list[float]]:
    """Return the ratios of time on the clock, pair by pair, and those of the processors' time."""
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
    """Return the seconds of a few epochs, and those that all processors worked."""
    began, worked = time.perf_counter(), time.process_time()
    network.attach(ak.TrainingSentinel(f"train{number}", lambda: data, cross_entropy, in_flight=5, epochs=EPOCHS))
    for _ in network.watch():
        pass
    return time.perf_counter() - began, time.process_time() - worked


if __name__ == "__main__":
    main()
