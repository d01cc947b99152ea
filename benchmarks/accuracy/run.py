"""Compares the time until a model is accurate: akkordeon and plain PyTorch, each with its best batch size and rate.

Both sides have several ways to train: a plain loop with one and with two intra-op threads; several gates, all layers in
one gate, and one gate with one batch in flight. The same batch sizes and learning rates are tried for each of them, and
judged on held-out training data; the best two of each way run with four more seeds. Then both ways of plain PyTorch and
the best way of akkordeon are measured.

The figures come from other seeds, all training data, and the test data. Each arm runs in a fresh process, one after the
other; a round in which other processes used more than 5 % of the CPU is void. The clock stops during evaluations.

Examples:
  python -m benchmarks.accuracy --tune                   # choose settings, some minutes per data set
  python -m benchmarks.accuracy                          # measure with these; writes results.json and table.md
  python -m benchmarks.accuracy --only mnist --rounds 1  # one data set; also with --tune
"""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.accuracy.races import GOALS, SIDES, Course, Race, run
from benchmarks.common.apart import rounds, with_interval
from benchmarks.common.claims import parser, read_results, write_results, write_table

HERE, PACKAGE = Path(__file__).parent, "benchmarks.accuracy"
ROUNDS = 7
SEED, OTHERS, FIRST = 100, (101, 102, 103, 104), 0
"""Seeds: of the first tries, of the choice between the best of them, and of the first round."""

FINALISTS = 2
"""Settings that run again with other seeds, for each way to train."""

GROUPS = (*((arm,) for arm in SIDES["plain"]), SIDES["akkordeon"])
"""Groups of ways to train; the best of each group is measured."""

Figures = dict[str, Any]
Tried = list[tuple[Race, float]]


# Tuning


def tune(name: str) -> Figures:
    """Return the settings of the arms to measure, and all that were tried."""
    tried: Tried = []
    chosen = {}
    for arms in GROUPS:
        first = tries(name, arms)
        again = finals(first, FINALISTS * len(arms))
        tried += first + again
        best = winner(first + again)
        chosen[best.arm] = {"batch": best.batch, "lr": best.lr}
    return {"chosen": chosen, "tried": [asdict(race) | {"seconds": known(seconds)} for race, seconds in tried]}


def tries(name: str, arms: Sequence[str]) -> Tried:
    """Try all settings with these arms; give up a run that is clearly behind the best so far."""
    tried: Tried = []
    ahead: Course | None = None
    for race in (Race(name, arm, size, lr, SEED) for arm in arms for size, lr in grid(name)):
        course = run(race, ahead)
        if math.isfinite(course.seconds) and (ahead is None or course.seconds < ahead.seconds):
            ahead = course
        tried.append((race, course.seconds))
        say(race, course)
    return tried


def grid(name: str) -> Iterator[tuple[int, float]]:
    """Yield batch sizes and learning rates, the usual ones first: a good run early shortens the others."""
    for size, lr in itertools.product(GOALS[name].batches, GOALS[name].rates):
        yield size, round(lr * (size / 64) ** 0.5, 4)


def finals(tried: Tried, amount: int) -> Tried:
    """Run the best settings with other seeds."""
    reached = sorted((each for each in tried if math.isfinite(each[1])), key=lambda each: each[1])
    if not reached:
        raise SystemExit("no run has reached the goal")
    found = []
    for race in (replace(each, seed=seed) for each, _ in reached[:amount] for seed in OTHERS):
        course = run(race)
        found.append((race, course.seconds))
        say(race, course)
    return found


def winner(tried: Tried) -> Race:
    """Return the finalist with the smallest median."""
    seconds: dict[Race, list[float]] = {}
    for race, each in tried:
        seconds.setdefault(replace(race, seed=SEED), []).append(each)
    return min((race for race, all_of in seconds.items() if len(all_of) > 1), key=lambda race: median(seconds[race]))


def say(race: Race, course: Course) -> None:
    print(f"{race.goal}, {race.arm}, batches of {race.batch}, rate {race.lr:g}: {written(course)}", flush=True)


def written(course: Course) -> str:
    if math.isfinite(course.seconds):
        return f"{course.seconds:.2f} s, {course.epochs:g} epochs"
    return f"given up after {course.epochs:g} epochs"


# Measuring


def measure(name: str, chosen: Figures, wanted: int) -> list[Figures]:
    """Return seconds and epochs of each arm, by round; each round has a seed of its own."""
    found = []
    for seed in range(FIRST, FIRST + wanted):
        races = {arm: Race(name, arm, **settings, seed=seed, final=True) for arm, settings in chosen.items()}
        asked = {arm: json.dumps(asdict(race)) for arm, race in races.items()}
        found += [{arm: each[text] for arm, text in asked.items()} for each in rounds(PACKAGE, [*asked.values()], 1)]
    return found


def rows(name: str, chosen: Figures, found: Sequence[Figures]) -> list[str]:
    """Return the rows of a data set: the time of each arm, and the speed of akkordeon to the best of plain PyTorch."""
    seconds = {arm: [unknown(each[arm]["seconds"]) for each in found] for arm in chosen}
    plain = min((arm for arm in chosen if arm in SIDES["plain"]), key=lambda arm: median(seconds[arm]))
    (ours,) = (arm for arm in chosen if arm in SIDES["akkordeon"])
    goal, lines = GOALS[name], []
    for arm, settings in chosen.items():
        epochs = median(each[arm]["epochs"] for each in found)
        how = f"{settings['batch']}, {settings['lr']:g}"
        lines.append(f"| {goal.title} | {arm} | {how} | {with_interval(seconds[arm])} | {epochs:g} | |")
    speed = with_interval([a / b for a, b in zip(seconds[plain], seconds[ours], strict=True)])
    lines.append(f"| {goal.title} | **speed to {plain}** | | **{speed}** | | >= {goal.target} |")
    return lines


TITLE = [
    "| goal | arm | batch, rate | seconds | epochs | target |",
    "| --- | --- | ---: | ---: | ---: | ---: |",
]


def known(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None  # JSON has no infinity


def unknown(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def race(text: str) -> None:
    """Run one arm, and print what it took."""
    course = run(Race(**json.loads(text)))
    print(json.dumps({"seconds": known(course.seconds), "epochs": course.epochs}))


def run_all(only: Sequence[str], wanted: int, *, tuning: bool) -> None:
    """Tune or measure data sets; write the results after each, and the table at the end."""
    results = read_results(HERE)
    for name in only or GOALS:
        if tuning:
            results[name] = tune(name)
        elif name in results:
            results[name]["rounds"] = measure(name, results[name]["chosen"], wanted)
        else:
            raise SystemExit(f"no settings were chosen for {name} yet: run this with --tune --only {name} first")
        write_results(HERE, results)
    if not tuning:
        write_table(HERE, lines(results))


def lines(results: Figures) -> list[str]:
    """Return the lines of the table."""
    done = [name for name in GOALS if results.get(name, {}).get("rounds")]
    return [*TITLE, *(line for name in done for line in rows(name, results[name]["chosen"], results[name]["rounds"]))]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--only", choices=list(GOALS), nargs="*", default=[], help="only these data sets")
    options.add_argument("--tune", action="store_true", help="choose batch sizes and learning rates")
    options.add_argument("--rounds", type=int, default=ROUNDS, help="number of quiet rounds (default: %(default)s)")
    options.add_argument("--arm", metavar="JSON", help="measure this alone, in this process; print JSON")
    chosen = options.parse_args(arguments)
    if chosen.arm:
        race(chosen.arm)
    else:
        run_all(chosen.only, chosen.rounds, tuning=chosen.tune)
