"""Compares the throughput of `in_flight="auto"` with that of every fixed window, on the threads engine.

One network trains all the time, and `Network.set` changes the window of its sentinel. Each round begins with "auto",
which starts at 1 and gets some seconds; then come all fixed windows. So drift of the machine affects all alike. The
throughput of "auto" is that of the last third of its time, including its trials.

Examples:
  python -m benchmarks.auto_window            # some five minutes; writes results.json and table.md
  python -m benchmarks.auto_window --rounds 5
"""

import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from benchmarks.common.claims import parser, write_results, write_table

HERE, PACKAGE = Path(__file__).parent, "benchmarks.auto_window"
ARMS = {"2 gates": 2, "4 gates": 4}
WINDOWS = tuple(range(1, 9))
WIDTH, BATCH, BATCHES = 256, 256, 1000
"""A gate of two layers of this width takes about a millisecond for a forward."""

FIND, BURST, SETTLE = 40.0, 1.0, 0.1
"""Seconds of "auto", of the measurement of a fixed window, and between its start and its measurement."""

GOAL = 0.97

Rates = dict[str, list[float]]


def gates(number: int) -> list[ak.Gate]:
    def module(last: int) -> nn.Module:
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, last))

    ends = [WIDTH] * (number - 1) + [10]
    return [ak.Gate(f"g{n}", module(last), partial(SGD, lr=0.001)) for n, last in enumerate(ends)]


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x, target = torch.randn(BATCH, WIDTH, generator=generator), torch.randint(10, (BATCH,), generator=generator)
    return ((x.clone(), target) for _ in range(BATCHES))


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def rate(network: ak.Network, seconds: float) -> tuple[float, Counter[int]]:
    """Return batches per second from now on, and how often each window was in use."""
    seen = Counter[int]()
    began, before = time.monotonic(), network.status().sentinels[0].done
    while (now := time.monotonic()) < began + seconds:
        wait(min(0.05, began + seconds - now))
        sentinel = network.status().sentinels[0]
        seen[sentinel.window] += 1
    return (sentinel.done - before) / (time.monotonic() - began), seen


def measure(number: int, rounds: int) -> tuple[Rates, Counter[int]]:
    """Return batches per second in each round, by window, and the windows that "auto" found."""
    rates: Rates = {str(each): [] for each in ("auto", *WINDOWS)}
    kept = Counter[int]()
    with ak.launch(gates(number)) as network:
        network.attach(ak.TrainingSentinel("train", batches, cross_entropy))
        for _ in range(rounds):
            network.set("train", in_flight="auto")
            wait(2 / 3 * FIND)
            found, seen = rate(network, FIND / 3)
            rates["auto"].append(found)
            kept[seen.most_common(1)[0][0]] += 1
            for window in WINDOWS:
                network.set("train", in_flight=window)
                wait(SETTLE)
                rates[str(window)].append(rate(network, BURST)[0])
    return rates, kept


def row(arm: str, rates: Rates, kept: Counter[int]) -> str:
    """Return a row of the table: the median throughput of each window, to that of the best fixed one."""
    medians = {window: statistics.median(each) for window, each in rates.items()}
    best = max(medians[str(window)] for window in WINDOWS)
    shares = {window: each / best for window, each in medians.items()}
    smallest = next(window for window in WINDOWS if shares[str(window)] >= GOAL)
    found = " ".join(f"{window} ({times}x)" for window, times in sorted(kept.items()))
    cells = [arm, f"{best:.0f}", *(f"{shares[str(window)]:.3f}" for window in WINDOWS)]
    return "| " + " | ".join([*cells, f"{shares['auto']:.3f}", str(smallest), found]) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    chosen = options.parse_args(arguments)
    found = {arm: measure(number, chosen.rounds) for arm, number in ARMS.items()}
    names = ["network", "best, batches/s", *(str(each) for each in WINDOWS), "auto", f"smallest >= {GOAL}", "found"]
    head = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    write_results(HERE, {arm: {"rates": rates, "found": kept} for arm, (rates, kept) in found.items()})
    write_table(HERE, [*head, *(row(arm, rates, kept) for arm, (rates, kept) in found.items())])
