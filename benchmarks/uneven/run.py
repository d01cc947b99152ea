"""Throughput where something is uneven: a busy core, a loader that stalls, validation in between, a slow machine.

Arms run in fresh processes, one after the other; a round in which others took more than 5 % of the CPU is void (the
process that is to be in the way is not another one). Plain PyTorch is the better of one and two intra-op threads.

    python benchmarks/speed/uneven.py                         # everything; writes the tables
    python benchmarks/speed/uneven.py --only slow --rounds 3  # one case; what is known of the others stays
    python benchmarks/speed/uneven.py --arm "slow akkordeon"  # one arm, in this process; prints JSON
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from cases import CASES, Case

from akkordeon.bench.apart import of_the_median, rounds

HERE = Path(__file__).parent
ROUNDS = 7

Figures = dict[str, float]


def rows(case: Case, found: Sequence[Figures]) -> list[str]:
    """Return the lines of a case: each arm's figure, and what becomes of akkordeon's beside the best plain one."""
    lines = []
    for arm in found[0]:
        own = case.told(arm, of_the_median([each[arm] for each in found]))
        lines.append(f"| {case.title} | {arm} | {own} | | {len(found)} |")
    ratios = of_the_median([case.ratio(each) for each in found])
    lines.append(f"| {case.title} | **{case.question}** | **{TOLD.format(*ratios)}** | {case.target} | {len(found)} |")
    if case.also is not None:
        question, ratio = case.also
        ratios = of_the_median([ratio(each) for each in found])
        lines.append(f"| {case.title} | {question} | {TOLD.format(*ratios)} | | {len(found)} |")
    return lines


TOLD = "{:.2f} ({:.2f} - {:.2f})"
HEAD = ["| case | arm | figure | target | rounds |", "| --- | --- | ---: | ---: | ---: |"]


def by_arm(name: str, found: dict[str, Any]) -> Figures:
    """Return all that the arms of a case told in a round."""
    return {arm + what: value for arm in CASES[name].arms for what, value in found[f"{name} {arm}"].items()}


def main(only: Sequence[str], wanted: int) -> None:
    kept = HERE / "uneven.json"
    figures: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in only or CASES:
        case = CASES[name]
        counted = rounds(__file__, [f"{name} {arm}" for arm in case.arms], wanted)
        if counted:
            figures[name] = [by_arm(name, each) for each in counted]
            print("\n".join([*HEAD, *rows(case, figures[name])]), flush=True)
        else:
            print(f"{name}: no round was quiet", flush=True)
        lines = [line for each in CASES if each in figures for line in rows(CASES[each], figures[each])]
        (HERE / "uneven.md").write_text("\n".join([*HEAD, *lines]) + "\n")
        kept.write_text(json.dumps(figures, indent=1) + "\n")


def run(arm: str) -> None:
    """Measure one arm of one case, and print it."""
    name, _, what = arm.partition(" ")
    measure = CASES[name].arms[what]
    found = measure()
    print(json.dumps(found if isinstance(found, dict) else {"": median(found) if isinstance(found, list) else found}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(CASES), nargs="*", default=[], help="measure these cases")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="quiet ones that are wanted")
    parser.add_argument("--arm", metavar="'CASE ARM'", help="measure this alone, in this process")
    options = parser.parse_args()
    if options.arm:
        run(options.arm)
    else:
        main(options.only, options.rounds)
