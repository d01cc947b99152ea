"""Compares throughput under uneven conditions: a busy core, a stalling loader, validation, a slow machine.

Arms run in fresh processes, one after the other. A round in which other processes used more than 5 % of the CPU is
void; the process that keeps a core busy on purpose does not count as another one. Plain PyTorch is the faster of one
and two intra-op threads.

Examples:
  python -m benchmarks.uneven                         # everything, an hour or so; writes results.json and table.md
  python -m benchmarks.uneven --only slow --rounds 3  # one case; results of the others are kept
  python -m benchmarks.uneven --figure                # draw figure.svg from results.json
  python -m benchmarks.uneven --arm "slow akkordeon"  # one arm, in this process; prints JSON
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common.apart import of_the_median, rounds, with_interval
from benchmarks.common.claims import parser, read_results, write_results, write_table
from benchmarks.common.figure import Panel, draw
from benchmarks.uneven.cases import CASES, Case

HERE, PACKAGE = Path(__file__).parent, "benchmarks.uneven"
ROUNDS = 7

Figures = dict[str, float]


def rows(case: Case, found: Sequence[Figures]) -> list[str]:
    """Return the rows of a case: the figure of each arm, then the ratio that the case asks for."""
    lines = []
    for arm in found[0]:
        own = case.written(arm, of_the_median([each[arm] for each in found]))
        lines.append(f"| {case.title} | {arm} | {own} | | {len(found)} |")
    ratio = with_interval([case.ratio(each) for each in found])
    lines.append(f"| {case.title} | **{case.question}** | **{ratio}** | {case.target} | {len(found)} |")
    if case.also is not None:
        question, other = case.also
        ratio = with_interval([other(each) for each in found])
        lines.append(f"| {case.title} | {question} | {ratio} | | {len(found)} |")
    return lines


HEAD = ["| case | arm | figure | target | rounds |", "| --- | --- | ---: | ---: | ---: |"]


def by_arm(name: str, found: dict[str, Any]) -> Figures:
    """Return all figures that the arms of a case gave in a round."""
    return {arm + what: value for arm in CASES[name].arms for what, value in found[f"{name} {arm}"].items()}


def measure_all(only: Sequence[str], wanted: int) -> None:
    """Measure cases, and write results and table after each."""
    results = read_results(HERE)
    for name in only or CASES:
        counted = rounds(PACKAGE, [f"{name} {arm}" for arm in CASES[name].arms], wanted)
        if counted:
            results[name] = [by_arm(name, each) for each in counted]
        else:
            print(f"{name}: no round was quiet", flush=True)
        write_results(HERE, results)
        write_table(HERE, lines(results))


def lines(results: dict[str, list[Figures]]) -> list[str]:
    """Return the lines of the table."""
    return [*HEAD, *(line for name, case in CASES.items() if name in results for line in rows(case, results[name]))]


def panel() -> Panel:
    """Return the panel with the ratio of each case."""
    ratios, targets = {}, {}
    for name, found in read_results(HERE).items():
        case = CASES[name]
        line = f"{case.title}:\n{case.question}"
        ratios[line], targets[line] = [case.ratio(each) for each in found], float(case.target[3:])
    return Panel("under uneven conditions", ratios, targets)


def run(arm: str) -> None:
    """Measure one arm of one case, and print it."""
    name, _, which = arm.partition(" ")
    found = CASES[name].arms[which]()
    print(json.dumps(found if isinstance(found, dict) else {"": median(found) if isinstance(found, list) else found}))


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--only", choices=list(CASES), nargs="*", default=[], help="measure these cases")
    options.add_argument("--rounds", type=int, default=ROUNDS, help="number of quiet rounds (default: %(default)s)")
    options.add_argument("--figure", action="store_true", help="draw figure.svg from results.json; measure nothing")
    options.add_argument("--arm", metavar="'CASE ARM'", help="measure this alone, in this process; print JSON")
    chosen = options.parse_args(arguments)
    if chosen.arm:
        run(chosen.arm)
    elif chosen.figure:
        draw(HERE, [panel()])
    else:
        measure_all(chosen.only, chosen.rounds)
