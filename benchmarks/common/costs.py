"""Measures turns, computations and wake-ups on the threads engine, by kind of actor and kind of message.

Turns and computations are measured with one worker, so that none waits for the core of another or for the interpreter.
The time that a worker takes to wake, the cost of a hop between two idle cores, is measured with two.
"""

import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import median

import akkordeon as ak
from benchmarks.common.chain import batches, gates, sentinel
from benchmarks.common.watched import WatchedThreads


@dataclass(frozen=True)
class Costs:
    """Seconds of one gate for one batch, or one piece of a batch.

    Args:
        forward: of the computation, with its turns.
        backward: the same.
        update: of the weights; GPipe and 1F1B make one per batch, gates one per piece.
    """

    forward: float
    backward: float
    update: float = 0.0


Table = dict[str, float]
"""Median seconds by "turn gate Backward", "work gate Backward", "turn gate Backward then", and so on; and "hop"."""

GATES, IN_FLIGHT = 6, 4
WARM, COUNTED = 1.5, 4.0


def role(name: str) -> str:
    """Return the kind of an actor: gate, sentinel, provider or conductor."""
    return name.partition(" ")[0].partition("#")[0]


def measure_costs() -> Table:
    """Train twice on timed engines."""
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
    """Return the costs of a gate whose computations take `heavier` times as long as measured."""
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
