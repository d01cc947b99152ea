"""Whether `in_flight="auto"` finds the window: its throughput beside that of every fixed one, on the threads engine.

    python benchmarks/staleness/auto_window.py            # prints a table; some five minutes
    python benchmarks/staleness/auto_window.py --rounds 5

One network trains all the time, and `Network.set` gives its sentinel one window after the other: in each round first
"auto", which begins anew with 1 and gets some seconds, then all fixed ones. So whatever else the machine does hits all
alike. The throughput of "auto" is that of the last third of its time, with all that it tries meanwhile.
"""

import argparse
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak

ARMS = {"2 gates": 2, "4 gates": 4}
WINDOWS = tuple(range(1, 9))
WIDTH, BATCH, BATCHES = 256, 256, 1000
"""A gate of two layers of this width takes about a millisecond for a forward."""

FIND, BURST, SETTLE = 40.0, 1.0, 0.1
"""Seconds that auto gets, that a fixed window is measured for, and that it has before."""

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
    """Return batches per second from now on, and which windows were seen how often."""
    seen = Counter[int]()
    began, before = time.monotonic(), network.status().sentinels[0].done
    while (now := time.monotonic()) < began + seconds:
        wait(min(0.05, began + seconds - now))
        sentinel = network.status().sentinels[0]
        seen[sentinel.window] += 1
    return (sentinel.done - before) / (time.monotonic() - began), seen


def measure(number: int, rounds: int) -> tuple[Rates, Counter[int]]:
    """Return batches per second in each round, by window, and the windows that auto has found."""
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
    """One line of the table: medians over the rounds of each round's share of its best fixed window."""
    medians = {window: statistics.median(each) for window, each in rates.items()}
    best = max(medians[str(window)] for window in WINDOWS)
    shares = {window: each / best for window, each in medians.items()}
    smallest = next(window for window in WINDOWS if shares[str(window)] >= GOAL)
    found = " ".join(f"{window} ({times}x)" for window, times in sorted(kept.items()))
    cells = [arm, f"{best:.0f}", *(f"{shares[str(window)]:.3f}" for window in WINDOWS)]
    return "| " + " | ".join([*cells, f"{shares['auto']:.3f}", str(smallest), found]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    names = ["network", "best, batches/s", *(str(each) for each in WINDOWS), "auto", f"smallest >= {GOAL}", "found"]
    print("| " + " | ".join(names) + " |\n" + "|" + " --- |" * len(names))
    for arm, number in ARMS.items():
        print(row(arm, *measure(number, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
