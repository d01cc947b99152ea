"""Tables of the simulated networks."""

import math
from typing import Any

from benchmarks.common.chain import STASH_BYTES, WEIGHT_BYTES
from benchmarks.common.claims import table
from benchmarks.common.costs import Table, of_a_gate
from benchmarks.growth_simulated.simulation import Point

Figures = dict[str, Any]


def simulated_table(groups: dict[str, list[Figures]], measured: Table) -> str:
    """Return all tables, one per group."""
    names = ["gates", "in flight", "link", "batches/s", "share", "staleness first, last", "kept, MB"]
    names += [f"{kind}{which}" for kind in ("GPipe", "1F1B") for which in (", pieces as in flight", ", 4 a gate")]
    parts = []
    for name, found in groups.items():
        rows = [_simulated_row(Point(**each["point"]), each, measured) for each in found]
        parts.append(f"**{name}**\n\n{table(names, rows)}")
    return "\n".join(parts)


def _simulated_row(point: Point, found: Figures, measured: Table) -> list[str]:
    costs = of_a_gate(measured, point.heavier)
    own = 1 / (costs.forward + costs.backward + costs.update)
    mine = found["figures"]
    late = f"{mine['staleness_first']:.1f}, {mine['staleness_last']:.1f}"
    out = str(point.in_flight) if point.sentinels == 1 else f"{point.sentinels} x {point.in_flight}"
    cells = [str(point.gates), out, _link(point), _number(mine["batches_per_second"])]
    cells += [_share(mine, own), late, _kept(mine)]
    return cells + [f"{_share(each, own)} ({_kept(each)} MB)" for each in found["rivals"]]


def _link(point: Point) -> str:
    link = "one process" if point.latency is None else f"{1e3 * point.latency:g} ms, {point.megabits:g} Mbit/s"
    return f"{link}, spread {point.spread:g}" if point.spread else link


def _share(found: Figures, own: float) -> str:
    return f"{found['batches_per_second'] / own:.1%}"


def _kept(found: Figures) -> str:
    return _number((found["stashed"] * STASH_BYTES + found["versions"] * WEIGHT_BYTES) / 1e6)


def _number(value: float) -> str:
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f}" if value < 100 else f"{value:.0f}"
