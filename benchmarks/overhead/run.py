"""Measures what a gate costs per batch beyond the bare computation: microseconds, and calls of functions, by part.

One gate, 784-50-20-10 with SGD, one batch in flight, on the threads engine. The bare computation is the same forward,
loss, backward and step in a plain loop, on one thread. Each case (size of a batch, workers) runs in fresh processes.

The clock: a plain turn and a turn of the network alternate in one process, some batches each; the difference per batch
counts, if other processes used less than 5 % of the CPU meanwhile. The figure is the upper end of the 95 % interval of
the median. Parts are timed in a run of their own, in which each part costs about a microsecond more.

The counts: a profiler counts all calls of Python functions, and of functions in C, over all threads. They are the same
on every machine, busy or not, so a change states its price with them first. What the clock brings on, such as leases
and copies to restart a gate from, is not counted.

Examples:
  python -m benchmarks.overhead                  # some minutes on a quiet machine; writes results.json and table.md
  python -m benchmarks.overhead --counts         # the calls alone, half a minute, on any machine; keeps the clock's
  python -m benchmarks.overhead --quick          # few pairs; prints the table and what has changed; writes nothing
  python -m benchmarks.overhead --arm "64 1 calls"    # one arm, in this process; prints JSON
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.common.apart import of_the_median, run_apart, with_interval
from benchmarks.common.calls import Calls
from benchmarks.common.claims import parser, read_results, write_results, write_table
from benchmarks.overhead.arms import PARTS, QUICK, calls, pairs, parts

HERE, PACKAGE = Path(__file__).parent, "benchmarks.overhead"
CASES = [(size, workers) for size in (64, 1024) for workers in (1, 2)]
ARMS = ("calls", "parts", "pairs")


def measure(arms: Sequence[str], *, quick: bool = False) -> dict[str, Any]:
    """Return what these arms found, by case."""
    found: dict[str, Any] = {}
    for size, workers in CASES:
        case = f"{size} {workers}"
        names = {arm: "quick pairs" if quick and arm == "pairs" else arm for arm in arms}
        found[case] = {arm: run_apart(PACKAGE, f"{case} {name}")[0]["found"] for arm, name in names.items()}
        print(f"batch {size}, {workers} workers: {', '.join(arms)}", flush=True)
    return found


def run_arm(text: str) -> object:
    """Measure one arm, named as in "64 1 calls"."""
    size, workers, arm = text.split(maxsplit=2)
    known: Mapping[str, Callable[[int, int], object]] = {
        "calls": calls,
        "parts": parts,
        "pairs": pairs,
        "quick pairs": partial(pairs, wanted=QUICK),
    }
    return known[arm](int(size), int(workers))


OF_A_GATE = ("forward", "backward", "update", "messages")
"""Parts that each gate has; the others are of the sentinel, whatever the number of gates."""

WHOLE = [
    "| batch | workers | µs beyond, upper end | median (95 %) | plain loop | pairs "  # noqa: ISC004 - one line
    "| Python calls beyond | of the gate | C calls beyond | of the gate |",
    "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
]
BY_PART = [
    "| batch | workers | part | microseconds | of them bare | Python calls | of them bare | C calls | of them bare |",
    "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
]


def beyond(found: dict[str, Any], parts: Sequence[str] = tuple(PARTS)) -> Calls:
    """Return the calls of a batch in these parts beyond the bare ones."""
    bare, ours = found["calls"]["bare"], found["calls"]["ours"]
    return Calls(*(sum(ours[part][kind] - bare[part][kind] for part in parts) for kind in (0, 1)))


def whole_row(case: str, found: dict[str, Any]) -> str:
    """Return the row of a case in all."""
    clock = " | | | "
    if taken := found.get("pairs"):
        differences = [ours - bare for bare, ours in taken]
        _, _, high = of_the_median(differences)
        bare = median(bare for bare, _ in taken)
        clock = f"{high:.0f} | {with_interval(differences, '.0f')} | {bare:.0f} | {len(taken)}"
    size, workers = case.split()
    counts = [f"{each[kind]:.1f}" for kind in (0, 1) for each in (beyond(found), beyond(found, OF_A_GATE))]
    return f"| {size} | {workers} | {clock} | {' | '.join(counts)} |"


def part_rows(case: str, found: dict[str, Any]) -> Iterator[str]:
    """Yield a row per part."""
    size, workers = case.split()
    for part in PARTS:
        clock = [f"{found['parts'][side][part]:.0f}" if "parts" in found else "" for side in ("ours", "bare")]
        counts = [f"{found['calls'][side][part][kind]:.1f}" for kind in (0, 1) for side in ("ours", "bare")]
        yield f"| {size} | {workers} | {part} | {' | '.join((*clock, *counts))} |"


def lines(results: dict[str, Any]) -> list[str]:
    """Return the lines of the table."""
    return [
        "784-50-20-10 in one gate, SGD, one batch in flight; per batch, beyond the same computation in a plain loop.",
        "",
        *WHOLE,
        *(whole_row(case, found) for case, found in results.items()),
        "",
        "By part, with what is bare computation:",
        "",
        *BY_PART,
        *(row for case, found in results.items() for row in part_rows(case, found)),
    ]


def changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Yield what has changed in the calls since `results.json` was written."""
    for case, found in now.items():
        if case in before:
            python, c = (
                a - b for a, b in zip(*(beyond(each, OF_A_GATE) for each in (found, before[case])), strict=True)
            )
            size, workers = case.split()
            yield f"batch {size}, {workers} workers: {python:+.1f} Python calls and {c:+.1f} C calls per gate and batch"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--counts", action="store_true", help="count calls alone; the clock's figures stay")
    options.add_argument("--quick", action="store_true", help=f"{QUICK} pairs, whoever else is busy; write nothing")
    options.add_argument("--arm", metavar="'SIZE WORKERS ARM'", help="measure this alone, in this process; print JSON")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(1)
    if chosen.arm:
        print(json.dumps({"found": run_arm(chosen.arm)}))
        return
    before = read_results(HERE)
    found = measure(ARMS[:1] if chosen.counts else ARMS, quick=chosen.quick)
    print("since results.json was written:", *changes(before, found), sep="\n  ")
    if chosen.quick:
        print("\n".join(lines(found)))
        return
    results = {case: before.get(case, {}) | each for case, each in found.items()}
    write_results(HERE, results)
    write_table(HERE, lines(results))
