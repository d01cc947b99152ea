"""Measures cost as a network grows on the threads engine: 1 to 64 gates, batches in flight, or sentinels.

It also measures turns, computations and wake-ups, which `benchmarks.growth_simulated` draws on. Each network runs in a
fresh process. While other processes use more than 5 % of the CPU it runs again; the least disturbed run counts.

Examples:
  python -m benchmarks.growth                    # everything, some three minutes; writes results and tables
  python -m benchmarks.growth --only gates       # one sweep; results of the others are kept
  python -m benchmarks.growth --table            # write the tables again from results.json
  python -m benchmarks.growth --arm 'gates 8'    # one network, in this process; prints JSON
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.common.apart import FOREIGN, run_apart
from benchmarks.common.claims import parser, read_results, write_results, write_table
from benchmarks.common.costs import measure_costs
from benchmarks.growth.sweeps import SWEEPS, measure
from benchmarks.growth.tables import costs_table, sweeps_table

HERE, PACKAGE = Path(__file__).parent, "benchmarks.growth"
COSTS = "costs"
ARMS = {
    f"{sweep} {getattr(grown, axis)}": (sweep, grown)
    for sweep, axis in (("gates", "gates"), ("in flight", "in_flight"), ("sentinels", "sentinels"))
    for grown in SWEEPS[sweep]
}


def measure_all(only: Sequence[str], attempts: int) -> None:
    """Measure sweeps and costs, and write the results after each."""
    results = read_results(HERE)
    for sweep in only or [COSTS, *SWEEPS]:
        arms = [COSTS] if sweep == COSTS else [arm for arm, (each, _) in ARMS.items() if each == sweep]
        results[sweep] = [_quietest(arm, attempts) for arm in arms]
        write_results(HERE, results)


def _quietest(arm: str, attempts: int) -> dict[str, Any]:
    """Run an arm again while it is disturbed, and return the run that other processes disturbed least."""
    best: dict[str, Any] = {}
    for _ in range(attempts):
        figures, foreign = run_apart(PACKAGE, arm)
        print(f"{arm}: others used {foreign:.0%} of the CPU", file=sys.stderr, flush=True)
        if not best or foreign < best["foreign"]:
            best = {"foreign": foreign, "figures": figures}
        if foreign <= FOREIGN:
            break
    return best if arm == COSTS else {"point": asdict(ARMS[arm][1]), **best}


def write_tables() -> None:
    """Write `table.md` and `costs.md`."""
    results = read_results(HERE)
    table = sweeps_table({sweep: results[sweep] for sweep in SWEEPS if sweep in results})
    write_table(HERE, table.splitlines())
    (HERE / "costs.md").write_text(costs_table(results[COSTS][0]["figures"]))


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--only", nargs="*", choices=[COSTS, *SWEEPS], default=[], help="measure these alone")
    options.add_argument(
        "--attempts", type=int, default=3, help="runs of each network while it is disturbed (default: %(default)s)"
    )
    options.add_argument("--table", action="store_true", help="write the tables again; measure nothing")
    options.add_argument("--arm", choices=[*ARMS, COSTS], metavar="ARM", help="measure this alone, in this process")
    chosen = options.parse_args(arguments)
    if chosen.arm:
        print(json.dumps(measure_costs() if chosen.arm == COSTS else measure(ARMS[chosen.arm][1])))
        return
    if not chosen.table:
        measure_all(chosen.only, chosen.attempts)
    write_tables()
