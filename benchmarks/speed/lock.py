"""What the interpreter's lock costs two threads that call torch: calls per second of two threads, to those of one.

python benchmarks/speed/lock.py    # some seconds; prints a table
"""

import statistics
import threading
import time
from collections.abc import Callable

import torch

ROUNDS = 7
SECONDS = 0.2

CALLS: dict[str, Callable[[], object]] = {}
"""What is called over and over."""


def add(rows: int, columns: int) -> Callable[[], object]:
    x = torch.randn(rows, columns)
    return lambda: x + x


def multiply(rows: int, inner: int, columns: int) -> Callable[[], object]:
    x, weight = torch.randn(rows, inner), torch.randn(inner, columns)
    return lambda: x @ weight


CALLS["sum of 200 numbers"] = add(20, 10)
CALLS["sum of 39,200 numbers"] = add(784, 50)
CALLS["product, 64 x 784 x 50"] = multiply(64, 784, 50)
CALLS["product, 64 x 784 x 256"] = multiply(64, 784, 256)
CALLS["product, 1024 x 784 x 50"] = multiply(1024, 784, 50)


def rate(call: Callable[[], object], threads: int) -> float:
    """Return calls per second of all threads together."""
    counts = [0] * threads
    end = time.perf_counter() + SECONDS

    def repeat(number: int) -> None:
        torch.set_num_threads(1)  # each thread must say so for itself
        while time.perf_counter() < end:
            call()
            counts[number] += 1

    running = [threading.Thread(target=repeat, args=(number,)) for number in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return sum(counts) / SECONDS


def main() -> None:
    print("| call | microseconds, one thread | calls of two threads to those of one |\n| --- | ---: | ---: |")
    for name, call in CALLS.items():
        rate(call, 2)
        pairs = [(rate(call, 1), rate(call, 2)) for _ in range(ROUNDS)]
        ratios = sorted(two / one for one, two in pairs)
        took = statistics.median(1e6 / one for one, _ in pairs)
        print(f"| {name} | {took:.1f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f}) |")


if __name__ == "__main__":
    main()
