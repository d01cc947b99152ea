"""What turns, computations and wakings take on the threads engine, by role and kind of message.

Turns and computations are taken with one worker, so that none waits for another's core or for the interpreter; how long
a worker takes to wake, which is what a hop costs between two idle cores, is taken with two.
"""

import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from chain import batches, gates, sentinel
from formulas import Costs

import akkordeon as ak

sys.path.append(str(Path(__file__).parents[1] / "prediction"))
from watched import WatchedThreads

__all__ = ["Table", "measure_costs", "of_a_gate", "role"]

Table = dict[str, float]
"""Median seconds by "turn gate Backward", "work gate Backward", "turn gate Backward then", and so on; and "hop"."""

GATES, IN_FLIGHT = 6, 4
WARM, COUNTED = 1.5, 4.0


def role(name: str) -> str:
    """Return what an actor is: gate, sentinel, provider or conductor."""
    return name.partition(" ")[0].partition("#")[0]


def measure_costs() -> Table:
    """Train twice under the watch."""
    table = {
        f"{what} {who} {kind}": median(seen)
        for (what, who, kind), seen in sorted(_watched(workers=1).items())
        if what != "wake"
    }
    hops = [
        each for (what, who, _), seen in _watched(workers=2).items() if (what, who) == ("wake", "gate") for each in seen
    ]
    return table | {"hop": median(hops)}


def of_a_gate(table: Table, heavier: float = 1.0) -> Costs:
    """Return what formulas need to know of a gate whose computations take so many times longer than measured."""
    forward = table["turn gate Forward"] + heavier * table["work gate Forward"] + table["turn gate Forward then"]
    backward = table["turn gate Backward"] + heavier * table["work gate Backward"]
    return Costs(forward, backward, table["turn gate Backward then"])


def _watched(workers: int) -> dict[tuple[str, str, str], list[float]]:
    engine = WatchedThreads(workers)
    with ak.launch(gates(GATES), engine=engine) as network:
        network.attach(sentinel(0, IN_FLIGHT, batches()))
        began = time.perf_counter()
        for _ in network.watch():
            engine.counts = time.perf_counter() - began > WARM
            if time.perf_counter() - began > WARM + COUNTED:
                break
        engine.counts = False
    seen: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for (what, name, kind), samples in engine.samples.items():
        seen[what, role(name), kind] += [took for _, took in samples]
    return seen
