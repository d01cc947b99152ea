"""Measures the cost of staleness, and how much of it each compensation regains.

Each experiment trains small networks on the simulation engine, where delays are chosen, with each compensation at its
best learning rate. Results of experiments that do not run again are kept. Ctrl-C keeps those that are complete.

Examples:
  python -m benchmarks.staleness --quick               # little of each experiment, a few minutes; writes elsewhere
  python -m benchmarks.staleness                       # everything, hours; writes results.json, table.md, figure.svg
  python -m benchmarks.staleness --only r1,r6          # two of the experiments
  python -m benchmarks.staleness --only r7 --data shakespeare
"""

import argparse
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from akkordeon.errors import DataUnavailable
from benchmarks.common.claims import parser, read_results, write_results
from benchmarks.staleness import stability
from benchmarks.staleness.experiments import EXPERIMENTS, Condition, Experiment, Size
from benchmarks.staleness.figure import draw
from benchmarks.staleness.hogwild import RATES, hogwild
from benchmarks.staleness.search import Best, Pool, Say, tuned
from benchmarks.staleness.tables import as_json, table

HERE, PACKAGE = Path(__file__).parent, "benchmarks.staleness"
STABILITY, HOGWILD = "r1", "hogwild"
KEYS = (STABILITY, *EXPERIMENTS, HOGWILD)
"""Names of all experiments."""

LONGER = (1.25, 1.1)
"""Factors on the updates, with which the best arm may reach the loss of synchronous training."""


def bench(
    out: Path,
    *,
    only: Sequence[str] = (),
    quick: bool = False,
    workers: int | None = None,
    text: Path | None = None,
    say: Say = print,
) -> Path:
    """Run experiments and write `results.json`, `table.md` and `figure.svg`; return the file of the table.

    Args:
        out: folder to write into; its results of other experiments are kept.
        only: names of experiments; empty for all.
        quick: run little of each.
        workers: processes; None for one per core.
        text: folder of tiny-shakespeare, if the user has it.
        say: receives lines of progress.

    An experiment whose data are missing is skipped.
    """
    out.mkdir(parents=True, exist_ok=True)
    results = read_results(out)
    pool = Pool(say, workers, text)
    try:
        for key in only or KEYS:
            try:
                results[key] = _run(key, pool, quick=quick)
            except DataUnavailable as missing:
                say(f"{key} skipped: {missing}")
                continue
            write_results(out, results)
            _write(out, results)
    finally:
        pool.close()
    return out / "table.md"


def _run(key: str, pool: Pool, *, quick: bool) -> dict[str, Any]:
    if key == STABILITY:
        return _stability(pool, (0, 1) if quick else (0, 1, 2, 4, 8, 16))
    if key == HOGWILD:
        return hogwild(1, pool.say, updates=60, rates=RATES[1:2]) if quick else hogwild(5, pool.say)
    experiment = EXPERIMENTS[key]
    size = experiment.quick if quick else experiment.full
    sections: list[dict[str, Any]] = []
    for condition in experiment.conditions:
        trials = list(experiment.trials(condition, size))
        settings = {"factors": size.factors, "tuning": size.tuning, "shorter": size.shorter}
        arms = tuned(pool, f"{key}, {condition.title}", trials, seeds=size.seeds, **settings)  # type: ignore[arg-type]
        lines = list(table(arms, size.updates, experiment.accuracy, points=experiment.points))
        if experiment.longer and not quick:
            lines += _longer(pool, experiment, condition, size, arms)
        about = f"{size.updates} updates, {size.seeds} {'seed' if size.seeds == 1 else 'seeds'}"
        sections.append({"title": f"{condition.title}: {about}", "table": lines, "arms": as_json(arms)})
    return {"title": experiment.title, "about": experiment.about, "sections": sections}


def _longer(
    pool: Pool, experiment: Experiment, condition: Condition, size: Size, arms: Mapping[str, Best]
) -> list[str]:
    """Give the best stale arm more updates, until it has the final loss of synchronous training."""
    late = {name: best for name, best in arms.items() if name != "synchronous"}
    name = min(late, key=lambda each: fmean(late[each].figures(lambda outcome: outcome.held_out)))
    wanted = fmean(arms["synchronous"].figures(lambda outcome: outcome.held_out))
    (trial,) = (each for each in experiment.trials(condition, size) if each.arm == name)
    lines = [
        "",
        f"More updates for {name}, until it has the {wanted:.4f} of synchronous training on held-out data:",
        "",
    ]
    for times in LONGER:
        updates = round(times * size.updates)
        trials = [
            replace(trial, lr=late[name].lr, seed=seed, updates=updates, final=True) for seed in range(size.seeds)
        ]
        outcomes = list(pool.run(f"{experiment.key}, {times} times the updates", trials).values())
        needed = [outcome.reached_loss(wanted) / size.updates for outcome in outcomes]
        when = f"{fmean(needed):.3f} times the tokens" if all(map(math.isfinite, needed)) else "not reached"
        loss = fmean(outcome.held_out for outcome in outcomes)
        lines.append(f"- {times:g} times the updates planned: {loss:.4f} at the end, {when}")
        if when == "not reached":
            break
    return lines


def _stability(pool: Pool, staleness: Sequence[int]) -> dict[str, Any]:
    limits = pool.map("r1", stability.limit, [(kind, each) for kind in stability.KINDS for each in staleness])
    lines = ["| | " + " | ".join(f"τ = {each}" for each in staleness) + " |", "| --- |" + " ---: |" * len(staleness)]
    for kind in stability.KINDS:
        own = [each for each in limits if each.kind == kind]
        lines.append(f"| {kind}, measured | " + " | ".join(f"{each.measured:.4g}" for each in own) + " |")
        lines.append("| by the theory | " + " | ".join(f"{each.law:.4g}" for each in own) + " |")
        lines.append("| deviation | " + " | ".join(f"{each.error:+.2%}" for each in own) + " |")
    found = [
        {"kind": each.kind, "staleness": each.staleness, "measured": each.measured, "law": each.law} for each in limits
    ]
    about = (
        "Largest stable step η h / (1 - m) on a quadratic of curvature h, with m = 0 (SGD) and m = 0.9; see the module."
    )
    return {
        "title": "R1. Stability",
        "about": about,
        "sections": [{"title": "One gate, one weight", "table": lines, "arms": {}, "limits": found}],
    }


def _write(out: Path, results: Mapping[str, Any]) -> None:
    parts = ["# The cost of staleness, and what compensations regain", ""]
    for key in KEYS:
        if (found := results.get(key)) is None:
            continue
        parts += [f"## {found['title']}", "", found["about"], ""]
        for section in found["sections"]:
            parts += [f"### {section['title']}", "", *section["table"], ""]
    (out / "table.md").write_text("\n".join(parts))
    draw(results, out / "figure.svg")


def keys(text: str) -> list[str]:
    """Parse the names of experiments, separated by commas."""
    wanted = [each.strip() for each in text.split(",") if each.strip()]
    if unknown := [each for each in wanted if each not in KEYS]:
        raise argparse.ArgumentTypeError(f"no experiment {unknown[0]!r}; choose from {', '.join(KEYS)}")
    return wanted


def number_of_workers(text: str) -> int:
    """Parse a number of at least 1."""
    if not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, not {text!r}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--quick", action="store_true", help="run little of each experiment: minutes, not hours")
    options.add_argument(
        "--only", type=keys, default=[], metavar="KEY,...", help=f"run these experiments: {', '.join(KEYS)}"
    )
    options.add_argument("--data", type=Path, metavar="DIR", help="folder of tiny-shakespeare, if you have it")
    options.add_argument(
        "--workers", type=number_of_workers, metavar="N", help="processes at once (default: one per core)"
    )
    options.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results (default: this one; with --quick, a new one)"
    )
    chosen = options.parse_args(arguments)
    out = chosen.out or (Path(tempfile.mkdtemp(prefix="staleness-")) if chosen.quick else HERE)
    logging.getLogger("akkordeon").setLevel(logging.ERROR)  # a run that diverges is a result, not a warning
    settings = {"quick": chosen.quick, "workers": chosen.workers, "text": chosen.data}
    try:
        print(f"results written to {bench(out, only=chosen.only, **settings)}")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
