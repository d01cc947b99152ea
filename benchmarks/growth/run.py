"""Cost as the work grows: on the threads engine as far as one machine goes, and on the simulation from there.

A sweep or a group can be run by itself; what was found of the others is kept.

    python benchmarks/growth/growth.py                    # all of it: measure, simulate, write the tables
    python benchmarks/growth/growth.py --threads gates    # measure some sweeps, or all; writes threads.json
    python benchmarks/growth/growth.py --simulated Links  # simulate some groups, or all; writes simulated.json
    python benchmarks/growth/growth.py --write            # the tables alone, from the figures there are
    python benchmarks/growth/growth.py --arm 'gates 8'    # one measurement, in this process; prints JSON
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from costs import Table, measure_costs
from measured import SWEEPS, measure
from pages import costs_table, simulated_table, threads_table
from points import GROUPS, pieces, rival
from simulated import Point, simulate

from akkordeon.bench.apart import FOREIGN, run_apart

HERE = Path(__file__).parent
COSTS = "costs"
ARMS = {
    f"{sweep} {getattr(grown, axis)}": (sweep, grown)
    for sweep, axis in (("gates", "gates"), ("in flight", "in_flight"), ("sentinels", "sentinels"))
    for grown in SWEEPS[sweep]
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def kept(name: str) -> dict[str, Any]:
    path = HERE / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(name: str, figures: dict[str, Any]) -> None:
    (HERE / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")


def measure_all(chosen: Sequence[str], attempts: int) -> None:
    figures = kept("threads")
    for sweep in chosen or [COSTS, *SWEEPS]:
        arms = [COSTS] if sweep == COSTS else [arm for arm, (each, _) in ARMS.items() if each == sweep]
        figures[sweep] = [_quietest(arm, attempts) for arm in arms]
        keep("threads", figures)


def _quietest(arm: str, attempts: int) -> dict[str, Any]:
    """Run an arm again while others take much of the CPU, and return the run in which they took the least."""
    best: dict[str, Any] = {}
    for _ in range(attempts):
        figures, foreign = run_apart(__file__, arm)
        say(f"{arm}: others took {foreign:.0%} of the CPU")
        if not best or foreign < best["foreign"]:
            best = {"foreign": foreign, "figures": figures}
        if foreign <= FOREIGN:
            break
    return best if arm == COSTS else {"point": asdict(ARMS[arm][1]), **best}


def simulate_all(chosen: Sequence[str]) -> None:
    table = costs_of(kept("threads"))
    figures = kept("simulated")
    for group, points in GROUPS.items():
        if not chosen or group.startswith(tuple(chosen)):
            figures[group] = list(_simulated(group, points, table))
            keep("simulated", {each: figures[each] for each in GROUPS if each in figures})


def costs_of(measured: dict[str, Any]) -> Table:
    table: Table = measured[COSTS][0]["figures"]
    return table


def _simulated(group: str, points: list[Point], table: Table) -> Iterator[dict[str, Any]]:
    for point in points:
        began = time.perf_counter()
        figures = simulate(point, table)
        rivals = [rival(kind, point, number, table) for kind in ("gpipe", "1f1b") for number in pieces(point)]
        say(f"{group}: {point}: {time.perf_counter() - began:.0f} s")
        yield {"point": _plain(point), "figures": figures, "rivals": rivals}


def _plain(point: Point) -> dict[str, Any]:
    return {name: value for name, value in asdict(point).items() if value != math.inf}  # which is not JSON


def write_tables() -> None:
    measured, simulated = kept("threads"), kept("simulated")
    (HERE / "threads.md").write_text(threads_table({sweep: measured[sweep] for sweep in SWEEPS if sweep in measured}))
    (HERE / "costs.md").write_text(costs_table(costs_of(measured)))
    (HERE / "simulated.md").write_text(simulated_table(simulated, costs_of(measured)))


def run(arm: str) -> None:
    """Measure one thing, and print it."""
    print(json.dumps(measure_costs() if arm == COSTS else measure(ARMS[arm][1])))


def main(options: argparse.Namespace) -> None:
    everything = options.threads is None and options.simulated is None and not options.write
    if everything or options.threads is not None:
        measure_all(options.threads or (), options.attempts)
    if everything or options.simulated is not None:
        simulate_all(options.simulated or ())
    if everything or options.write:
        write_tables()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", nargs="*", choices=[COSTS, *SWEEPS], help="measure these sweeps; all, if none")
    parser.add_argument("--simulated", nargs="*", metavar="GROUP", help="simulate these groups; all, if none")
    parser.add_argument("--attempts", type=int, default=3, help="runs of each measurement, while others disturb it")
    parser.add_argument("--write", action="store_true", help="write the tables")
    parser.add_argument("--arm", metavar="ARM", choices=[*ARMS, COSTS], help="measure this alone, in this process")
    arguments = parser.parse_args()
    if arguments.arm:
        run(arguments.arm)
    else:
        main(arguments)
