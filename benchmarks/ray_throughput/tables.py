"""The engine on Ray, measured: a hop against the bare call, throughput against threads, memory over 10,000 batches.

python benchmarks/ray/main.py             # everything, about seven minutes; prints the table
python benchmarks/ray/main.py --write     # likewise, and writes it into README.md, and figures.json
python benchmarks/ray/main.py --arm hop   # one arm, in this process; prints JSON
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hop
import memory
import throughput

from akkordeon.engines import Ray, Threads

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
RUNS = 3
"""Fresh processes for the throughput on each engine, in turns."""

ARMS: dict[str, Callable[[], Any]] = {
    "hop": hop.measure,
    "fashion-threads": lambda: throughput.fashion(Threads()),
    "fashion-ray": lambda: throughput.fashion(Ray()),
    "sizes": throughput.sizes,
    "memory": memory.measure,
}


def run_apart(arm: str) -> Any:
    """Run an arm in a process of its own; return its figures."""
    began = time.monotonic()
    print(f"{arm} …", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--arm", arm]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(f"{arm}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return json.loads(out.splitlines()[-1])


def measure() -> dict[str, Any]:
    figures = {"hop": run_apart("hop")}
    runs: dict[str, list[Any]] = {"threads": [], "ray": []}
    for _ in range(RUNS):
        for arm, each in runs.items():
            each.append(run_apart(f"fashion-{arm}"))
            print(each[-1], file=sys.stderr, flush=True)
    return {**figures, "fashion": runs, "sizes": run_apart("sizes"), "memory": run_apart("memory")}


def tables(figures: dict[str, Any]) -> str:
    """Return all tables."""
    parts = [hops(figures["hop"]), rates(figures["fashion"]), gates(figures["sizes"]), held(figures["memory"])]
    return "\n".join(parts)


def hops(bursts: dict[str, dict[str, list[float]]]) -> str:
    rows = [("a hop with float32 numbers", "bare call, ms", "ours, ms", "ratio (pairs)", "target"), ("---",) * 5]
    for case, each in bursts.items():
        bare, ours = (statistics.median(each[arm]) * 1e3 for arm in ("bare", "ours"))
        rows.append((case, f"{bare:.2f}", f"{ours:.2f}", ratio(each["ours"], each["bare"]), "<= 1.2"))
    return table(rows)


def rates(runs: dict[str, list[Any]]) -> str:
    seconds = {arm: [each["samples per second"] for each in all_] for arm, all_ in runs.items()}
    near, far = (f"{statistics.median(seconds[arm]):.0f}" for arm in ("threads", "ray"))
    data = runs["ray"][0]["data"]
    what = f"recipe fashion_mnist, {data}, batch {throughput.BATCH}, {throughput.IN_FLIGHT} in flight"
    head = ("samples per second", "threads", "Ray", "ratio (pairs)", "target")
    return table([head, ("---",) * 5, (what, near, far, ratio(seconds["ray"], seconds["threads"]), ">= 0.6")])


def gates(sizes: dict[str, dict[str, list[float]]]) -> str:
    rows = [("two gates, Linear(n, n); seconds per batch", "threads", "Ray", "Ray's throughput"), ("---",) * 4]
    for size, each in sizes.items():
        near, far = (f"{statistics.median(each[arm]):.4f}" for arm in ("threads", "ray"))
        rows.append((f"n = {size}", near, far, ratio(each["threads"], each["ray"])))
    return table(rows)


def held(figures: dict[str, Any]) -> str:
    looks, after = figures["looks"], figures["after large"]
    counts = [f"{memory.EVERY * (each + 1):,}" for each in range(len(looks))]
    head = ("MB, references of", *counts, "MB per 1,000 (target < 1)", "after large batches")
    rows = [head, ("---",) * len(head)]
    thousands = memory.EVERY * (len(looks) - 1) / 1000
    for process in looks[0]:
        cells = [cell(each[process]) for each in looks]
        growth = (looks[-1][process]["bytes"] - looks[0][process]["bytes"]) / 1e6 / thousands
        rows.append((process, *cells, f"{growth:.2f}", cell(after[process]) if process in after else ""))
    return table(rows)


def cell(held: dict[str, int]) -> str:
    return f"{held['bytes'] / 1e6:.1f}, {held['references']}"


def ratio(over: list[float], under: list[float]) -> str:
    """Return the ratio of the medians, and the least and greatest of a pair."""
    pairs = [a / b for a, b in zip(over, under, strict=True)]
    return f"{statistics.median(over) / statistics.median(under):.2f} ({min(pairs):.2f} - {max(pairs):.2f})"


def table(rows: Sequence[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def write(figures: dict[str, Any]) -> None:
    """Keep the figures, and put the tables into the page."""
    (HERE / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + tables(figures) + END + rest.split(END)[1])


def main(*, writes: bool) -> None:
    began = time.monotonic()
    figures = measure()
    print(tables(figures))
    print(f"{time.monotonic() - began:.0f} s in all", file=sys.stderr)
    if writes:
        write(figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=list(ARMS), help="run this arm alone, in this process")
    parser.add_argument("--write", action="store_true", help="write figures.json, and the tables into README.md")
    chosen = parser.parse_args()
    if chosen.arm:
        print(json.dumps(ARMS[chosen.arm]()))
    else:
        main(writes=chosen.write)
