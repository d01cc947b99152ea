"""What the interpreter's lock costs two threads that call torch: calls per second of two threads, to those of one.

The threads share nothing else: where they train, in the last rows, each has a model of its own.

    python benchmarks/speed/lock.py  # some seconds; prints a table
"""

import statistics
import threading
import time
from collections.abc import Callable
from functools import partial

import torch
from loops import LR, train
from torch import nn
from torch.optim import SGD

from models import MODELS

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
"""Makes what each thread calls over and over."""


def rate(make: Callable[[], Call], threads: int) -> float:
    """Return calls per second of all threads together."""
    counts = [0] * threads
    calls = [make() for _ in range(threads)]
    end = time.perf_counter() + SECONDS

    def repeat(number: int) -> None:
        torch.set_num_threads(1)  # each thread must say so for itself
        while time.perf_counter() < end:
            calls[number]()
            counts[number] += 1

    running = [threading.Thread(target=repeat, args=(number,)) for number in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return sum(counts) / SECONDS


def main() -> None:
    print("| call | microseconds, one thread | calls of two threads to those of one |\n| --- | ---: | ---: |")
    for name, make in CALLS.items():
        rate(make, 2)
        pairs = [(rate(make, 1), rate(make, 2)) for _ in range(ROUNDS)]
        ratios = sorted(two / one for one, two in pairs)
        took = statistics.median(1e6 / one for one, _ in pairs)
        print(f"| {name} | {took:.1f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f}) |")


if __name__ == "__main__":
    main()
