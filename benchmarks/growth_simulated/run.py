"""Simulates cost as a network grows: up to 1,024 gates and 1,000 sentinels, on slow links, beside GPipe and 1F1B.

The costs of gates and sentinels are those that `benchmarks.growth` measured.

Examples:
  python -m benchmarks.growth_simulated                # everything, ten minutes on one core; writes results and table
  python -m benchmarks.growth_simulated --only Links   # groups that begin with this; results of the others are kept
  python -m benchmarks.growth_simulated --table        # write the table again from results.json
"""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.common.claims import parser, read_results, write_results, write_table
from benchmarks.common.costs import Table
from benchmarks.growth_simulated.points import GROUPS, pieces, rival
from benchmarks.growth_simulated.simulation import Point, simulate
from benchmarks.growth_simulated.tables import simulated_table

HERE, PACKAGE = Path(__file__).parent, "benchmarks.growth_simulated"


def measured_costs() -> Table:
    """Return the costs that `benchmarks.growth` measured."""
    table: Table = read_results(HERE.parent / "growth")["costs"][0]["figures"]
    return table


def simulate_all(only: Sequence[str]) -> None:
    """Simulate groups, and write the results after each."""
    results = read_results(HERE)
    for group, points in GROUPS.items():
        if not only or group.startswith(tuple(only)):
            results[group] = list(_simulated(group, points))
            write_results(HERE, {each: results[each] for each in GROUPS if each in results})


def _simulated(group: str, points: Sequence[Point]) -> Iterator[dict[str, Any]]:
    costs = measured_costs()
    for point in points:
        began = time.perf_counter()
        figures = simulate(point, costs)
        rivals = [rival(kind, point, number, costs) for kind in ("gpipe", "1f1b") for number in pieces(point)]
        print(f"{group}: {point}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        yield {"point": _plain(point), "figures": figures, "rivals": rivals}


def _plain(point: Point) -> dict[str, Any]:
    return {name: value for name, value in asdict(point).items() if value != math.inf}  # JSON has no infinity


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--only", nargs="*", metavar="GROUP", default=[], help="simulate these groups alone")
    options.add_argument("--table", action="store_true", help="write the table again; simulate nothing")
    chosen = options.parse_args(arguments)
    if not chosen.table:
        simulate_all(chosen.only)
    write_table(HERE, simulated_table(read_results(HERE), measured_costs()).splitlines())
