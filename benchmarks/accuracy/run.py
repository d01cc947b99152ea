"""Time until a model is accurate: akkordeon against plain PyTorch, batch size and learning rate tuned for each.

Both sides have several ways to train: a plain loop with one and with two intra-op threads; several gates, all layers
in one, and that with one batch in flight. With each, all batch sizes and learning rates are tried alike, and judged by
training data that are held out; the best two of each way have another four seeds. Of plain PyTorch both ways are
measured then, of akkordeon the best.

The figures come from other seeds, all training data, and the test data: each arm in a fresh process, one after the
other; a round in which others took more than 5 % of the CPU is void. The clock stands while a model is evaluated.

    python benchmarks/speed/accuracy.py --tune                   # choose settings, some minutes for each data set
    python benchmarks/speed/accuracy.py                          # measure with these; writes the table
    python benchmarks/speed/accuracy.py --only mnist --rounds 1  # one data set; also with --tune
"""

import argparse
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from races import GOALS, SIDES, Course, Race, run

from akkordeon.bench.apart import of_the_median, rounds

FILE = Path(__file__).with_suffix(".json")
ROUNDS = 7
SEED, OTHERS, FIRST = 100, (101, 102, 103, 104), 0
"""Of the tries, of the choice between the best of them, and of the first round."""

FINALISTS = 2
"""For each way to train."""

GROUPS = (*((arm,) for arm in SIDES["plain"]), SIDES["akkordeon"])
"""Ways to train of which the best one is measured."""

Figures = dict[str, Any]
Tried = list[tuple[Race, float]]


# Tuning


def tune(name: str) -> Figures:
    """Return the settings of the arms that are to be measured, and all that was tried."""
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
    """Try all settings with these arms, and give up what is clearly behind the best so far."""
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
    """Yield batch sizes and learning rates, the usual ones first: the sooner one is good, the less the others take."""
    for size, lr in itertools.product(GOALS[name].batches, GOALS[name].rates):
        yield size, round(lr * (size / 64) ** 0.5, 4)


def finals(tried: Tried, amount: int) -> Tried:
    """Run the best with other seeds."""
    reached = sorted((each for each in tried if math.isfinite(each[1])), key=lambda each: each[1])
    if not reached:
        raise SystemExit("nothing that was tried has reached the goal")
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
    print(f"{race.goal}, {race.arm}, batches of {race.batch}, rate {race.lr:g}: {told(course)}", flush=True)


def told(course: Course) -> str:
    if math.isfinite(course.seconds):
        return f"{course.seconds:.2f} s, {course.epochs:g} epochs"
    return f"given up after {course.epochs:g} epochs"


# Measuring


def measure(name: str, chosen: Figures, wanted: int) -> list[Figures]:
    """Return what each arm took, by round; each round has a seed of its own."""
    found = []
    for seed in range(FIRST, FIRST + wanted):
        races = {arm: Race(name, arm, **of_arm, seed=seed, final=True) for arm, of_arm in chosen.items()}
        asked = {arm: json.dumps(asdict(race)) for arm, race in races.items()}
        found += [{arm: each[text] for arm, text in asked.items()} for each in rounds(__file__, [*asked.values()], 1)]
    return found


def rows(name: str, chosen: Figures, found: Sequence[Figures]) -> list[str]:
    """Return the lines of a data set: what each arm took, and akkordeon's speed to plain PyTorch at its best."""
    seconds = {arm: [unknown(each[arm]["seconds"]) for each in found] for arm in chosen}
    plain = min((arm for arm in chosen if arm in SIDES["plain"]), key=lambda arm: median(seconds[arm]))
    (ours,) = (arm for arm in chosen if arm in SIDES["akkordeon"])
    goal, lines = GOALS[name], []
    for arm, of_arm in chosen.items():
        epochs = median(each[arm]["epochs"] for each in found)
        how = f"{of_arm['batch']}, {of_arm['lr']:g}"
        lines.append(f"| {goal.title} | {arm} | {how} | {TOLD.format(*of_the_median(seconds[arm]))} | {epochs:g} | |")
    ratios = of_the_median([a / b for a, b in zip(seconds[plain], seconds[ours], strict=True)])
    lines.append(f"| {goal.title} | **speed to {plain}** | | **{TOLD.format(*ratios)}** | | >= {goal.target} |")
    return lines


TOLD = "{:.2f} ({:.2f} - {:.2f})"
TITLE = [
    "| what | arm | batch, rate | seconds | epochs | target |",
    "| --- | --- | ---: | ---: | ---: | ---: |",
]


def known(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None  # JSON knows no infinity


def unknown(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def race(text: str) -> None:
    """Run one arm, and print what it took."""
    course = run(Race(**json.loads(text)))
    print(json.dumps({"seconds": known(course.seconds), "epochs": course.epochs}))


def main(only: Sequence[str], wanted: int, file: Path, *, tuning: bool) -> None:
    figures: Figures = json.loads(file.read_text()) if file.exists() else {}
    for name in only or GOALS:
        if tuning:
            figures[name] = tune(name)
        elif name in figures:
            figures[name]["rounds"] = measure(name, figures[name]["chosen"], wanted)
        else:
            raise SystemExit(f"nothing was chosen for {name} yet: run this with --tune --only {name} first")
        file.write_text(json.dumps(figures, indent=1) + "\n")
    done = [name for name in GOALS if figures.get(name, {}).get("rounds")]
    lines = [*TITLE, *(line for name in done for line in rows(name, figures[name]["chosen"], figures[name]["rounds"]))]
    if not tuning:
        file.with_suffix(".md").write_text("\n".join(lines) + "\n")
        print("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(GOALS), nargs="*", default=[], help="these data sets")
    parser.add_argument("--tune", action="store_true", help="choose batch sizes and learning rates")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="that are wanted")
    parser.add_argument("--file", type=Path, default=FILE, help="where settings and figures are kept, the table beside")
    parser.add_argument("--arm", metavar="JSON", help="measure this alone, in this process")
    options = parser.parse_args()
    if options.arm:
        race(options.arm)
    else:
        main(options.only, options.rounds, options.file, tuning=options.tune)
