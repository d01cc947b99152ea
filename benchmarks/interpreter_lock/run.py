"""Measures the cost of Python's lock to two threads that call torch: calls per second of two threads, to those of one.

The threads share nothing else: each has a model of its own where they train, in the last rows. Two processes, which do
not share the lock, show the limit of the cores.

Example:
  python -m benchmarks.interpreter_lock    # a minute; writes results.json and table.md
"""

import multiprocessing
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.optim import SGD

from benchmarks.common.claims import parser, write_results, write_table
from benchmarks.common.loops import LR, train
from benchmarks.common.models import MODELS

HERE, PACKAGE = Path(__file__).parent, "benchmarks.interpreter_lock"
ROUNDS = 7
SECONDS = 0.2

Call = Callable[[], object]


def add(rows: int, columns: int) -> Call:
    x = torch.randn(rows, columns)
    return lambda: x + x


def multiply(rows: int, inner: int, columns: int) -> Call:
    x, weight = torch.randn(rows, inner), torch.randn(inner, columns)
    return lambda: x @ weight


def learn(name: str) -> Call:
    model, batch = nn.Sequential(*MODELS[name].modules()), MODELS[name].make_batch()
    return partial(train, model, SGD(model.parameters(), lr=LR), [batch])


CALLS: dict[str, Callable[[], Call]] = {
    "sum of 200 numbers": partial(add, 20, 10),
    "sum of 39,200 numbers": partial(add, 784, 50),
    "product, 64 x 784 x 50": partial(multiply, 64, 784, 50),
    "product, 64 x 784 x 256": partial(multiply, 64, 784, 256),
    "product, 1024 x 784 x 50": partial(multiply, 1024, 784, 50),
    **{f"batch of {name} in a plain loop": partial(learn, name) for name in ("tiny-64", "256x3-64", "mlp-1024")},
}
"""Each makes the function that a thread calls over and over."""


def rate(make: Callable[[], Call], threads: int) -> float:
    """Return calls per second of all threads together."""
    ready, counts = threading.Barrier(threads), deque[int]()
    running = [threading.Thread(target=repeat, args=(make, ready.wait, counts.append)) for _ in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return sum(counts) / SECONDS


def rate_of_processes(make: Callable[[], Call], processes: int) -> float:
    """Return calls per second of all processes together."""
    fork = multiprocessing.get_context("fork")
    ready, counts = fork.Barrier(processes), fork.SimpleQueue()
    running = [fork.Process(target=repeat, args=(make, ready.wait, counts.put)) for _ in range(processes)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return float(sum(counts.get() for _ in running)) / SECONDS


def repeat(make: Callable[[], Call], wait: Callable[[], object], tell: Callable[[int], object]) -> None:
    """Call over and over once all are ready; report the number of calls."""
    torch.set_num_threads(1)  # a setting of the calling thread
    call = make()
    call()
    wait()
    end, count = time.perf_counter() + SECONDS, 0
    while time.perf_counter() < end:
        call()
        count += 1
    tell(count)


def ratio(pairs: Sequence[tuple[float, float]]) -> str:
    """Format the ratio of two to one: median, minimum and maximum."""
    ratios = sorted(two / one for one, two in pairs)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser(PACKAGE, __doc__).parse_args(arguments)
    results = {}
    rows = ["| call | microseconds | two threads to one | two processes to one |", "| --- | ---: | ---: | ---: |"]
    for name, make in CALLS.items():
        threads = [(rate(make, 1), rate(make, 2)) for _ in range(ROUNDS)]
        processes = [(rate_of_processes(make, 1), rate_of_processes(make, 2)) for _ in range(ROUNDS)]
        results[name] = {"threads": threads, "processes": processes}
        took = statistics.median(1e6 / one for one, _ in threads)
        rows.append(f"| {name} | {took:.1f} | {ratio(threads)} | {ratio(processes)} |")
    write_results(HERE, results)
    write_table(HERE, rows)
