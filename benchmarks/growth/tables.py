"""The tables, from the figures."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from chain import STASH_BYTES, WEIGHT_BYTES
from costs import Table, of_a_gate
from simulated import Point

__all__ = ["costs_table", "simulated_table", "threads_table"]

Figures = dict[str, Any]


def threads_table(figures: Figures) -> str:
    """Write the first part."""
    names = ["gates", "sentinels", "in flight of each", "batches/s", "CPU of a gate and batch, us"]
    names += ["staleness first, last", "memory, MB", "s to begin", "others' share of the CPU"]
    rows = []
    for sweep, measured in figures.items():
        rows.append([f"*{sweep}*", *[""] * (len(names) - 1)])
        rows += [_threads_row(each["point"], each["figures"], each["foreign"]) for each in measured]
    return _table(names, rows)


def _threads_row(point: Figures, found: Figures, foreign: float) -> list[str]:
    late = f"{found['staleness_first']:.1f}, {found['staleness_last']:.1f}"
    sizes = [str(point[each]) for each in ("gates", "sentinels", "in_flight")]
    cpu = f"{1e6 * found['cpu_per_gate_and_batch']:.0f}"
    rest = [late, f"{found['memory_bytes'] / 1e6:.0f}", f"{found['seconds_to_begin']:.2f}", f"{max(0.0, foreign):.0%}"]
    return [*sizes, f"{found['batches_per_second']:.0f}", cpu, *rest]


def costs_table(table: Table) -> str:
    """Write what the simulation draws on."""
    costs = of_a_gate(table)
    found = {
        "forward of a gate": costs.forward,
        "backward of a gate": costs.backward,
        "update of a gate": costs.update,
        "turns around these two computations, of them": _turns(table),
        "hop to a core that sleeps": table["hop"],
        "loss and gradient at a sentinel": table["turn sentinel Forward"],
    }
    return _table(["what", "us"], [[what, f"{1e6 * seconds:.0f}"] for what, seconds in found.items()])


def _turns(table: Table) -> float:
    return sum(table[f"turn gate {kind}"] for kind in ("Forward", "Forward then", "Backward"))


def simulated_table(groups: dict[str, list[Figures]], table: Table) -> str:
    """Write the second part, a table for each group."""
    names = ["gates", "in flight", "link", "batches/s", "share", "staleness first, last", "kept, MB"]
    names += [f"{kind}{which}" for kind in ("GPipe", "1F1B") for which in (", pieces as in flight", ", 4 a gate")]
    parts = []
    for name, found in groups.items():
        rows = [_simulated_row(Point(**each["point"]), each, table) for each in found]
        parts.append(f"**{name}**\n\n{_table(names, rows)}")
    return "\n".join(parts)


def _simulated_row(point: Point, found: Figures, table: Table) -> list[str]:
    costs = of_a_gate(table, point.heavier)
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


def _table(names: Iterable[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(_lines(list(names), rows)) + "\n"


def _lines(names: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(names) + " |"
    yield "| " + " | ".join(["---"] + ["---:"] * (len(names) - 1)) + " |"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
