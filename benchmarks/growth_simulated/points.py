"""Networks to simulate, and the figures of GPipe and 1F1B on the same gates and links."""

import itertools
import random
from functools import partial

from benchmarks.common.costs import Table, of_a_gate
from benchmarks.growth_simulated.formulas import gpipe_seconds, stashed_by_1f1b, stashed_by_gpipe
from benchmarks.growth_simulated.schedules import Schedule, makespan
from benchmarks.growth_simulated.simulation import Point

HEAVY = 100.0
"""Factor for gates that are worth a machine of their own: some fifty milliseconds per batch."""

LATENCIES, RATES = (0.001, 0.01, 0.1), (10.0, 100.0, 1000.0)

GROUPS: dict[str, list[Point]] = {
    "Gates, a core each": [
        *(Point(gates, gates) for gates in (1, 4, 16, 64)),
        Point(256, 256, rounds=1),
        Point(1024, 256, rounds=1),
        *(Point(gates, 2 * gates) for gates in (4, 16, 64)),
        Point(256, 512, rounds=0.5),
    ],
    "Gates, a machine each": [
        *(Point(gates, 2 * gates, latency=0.001, megabits=1000, heavier=HEAVY) for gates in (4, 16, 64)),
        Point(256, 256, latency=0.001, megabits=1000, heavier=HEAVY, rounds=1),
    ],
    "Batches in flight, a machine for each of 16 gates": [
        Point(16, out, latency=0.01, megabits=100, heavier=HEAVY) for out in (1, 2, 4, 8, 16, 32, 64, 128)
    ],
    "Sentinels": [
        *(Point(16, 1, sentinels=number) for number in (1, 10, 100, 1000)),
        *(Point(16, 1, number, latency=0.01, megabits=100, heavier=HEAVY) for number in (1, 10, 100, 1000)),
    ],
    "Links, light gates": [
        Point(16, 32, latency=latency, megabits=rate) for latency, rate in itertools.product(LATENCIES, RATES)
    ],
    "Links, heavy gates": [
        Point(16, out, latency=latency, megabits=rate, heavier=HEAVY)
        for out, latency, rate in itertools.product((32, 128), LATENCIES, RATES)
    ],
    "Uneven computations": [
        Point(16, out, heavier=HEAVY, spread=spread, rounds=10)
        for out, spread in itertools.product((16, 32, 64), (0.0, 0.5, 1.0))
    ],
}

BATCHES = 20
"""Batches of a schedule that are simulated where computations are uneven."""


def pieces(point: Point) -> tuple[int, int]:
    """Return the pieces per batch of GPipe and 1F1B: as many as are in flight here, or four per gate."""
    return point.in_flight * point.sentinels, 4 * point.gates


def rival(schedule: Schedule, point: Point, number: int, table: Table) -> dict[str, float]:
    """Return the figures of a schedule on the same gates and links, with `number` pieces per batch."""
    costs, link = of_a_gate(table, point.heavier), point.link(table)
    if point.spread:
        draw = partial(point.draw, random.Random(0))  # noqa: S311 - a simulation, not a secret
        times = [makespan(schedule, point.gates, number, costs, link, draw) for _ in range(BATCHES)]
        seconds = sum(times) / BATCHES
    elif schedule == "gpipe":
        seconds = gpipe_seconds(point.gates, number, costs, link)
    else:
        seconds = makespan(schedule, point.gates, number, costs, link)
    stashed = stashed_by_gpipe if schedule == "gpipe" else stashed_by_1f1b
    return {
        "pieces": number,
        "batches_per_second": number / seconds,
        "stashed": stashed(point.gates, number),
        "versions": point.gates,
    }
