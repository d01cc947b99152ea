"""Runs the experiments, and writes what they give: JSON, tables and a figure."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from akkordeon.bench import stability
from akkordeon.bench.experiments import EXPERIMENTS, Condition, Experiment, Size
from akkordeon.bench.figure import draw
from akkordeon.bench.hogwild import hogwild
from akkordeon.bench.search import Best, Pool, Say, tuned
from akkordeon.bench.tables import as_json, table

__all__ = ["KEYS", "bench"]

STABILITY, HOGWILD = "r1", "hogwild"
KEYS = (STABILITY, *EXPERIMENTS, HOGWILD)
"""Names of all experiments."""

LONGER = (1.25, 1.1)
"""Times the updates, in which the best arm may reach the loss of synchronous training."""


def bench(
    out: Path,
    *,
    only: Sequence[str] = (),
    quick: bool = False,
    workers: int | None = None,
    text: Path | None = None,
    say: Say = print,
) -> Path:
    """Run experiments and write `results.json`, `results.md` and `results.svg`; return the table's file.

    Args:
        out: folder to write into; what it has of other experiments is kept.
        only: names of experiments; empty for all.
        quick: run little of each.
        workers: processes; None for one per core.
        text: folder of tiny-shakespeare, if the user has it.
        say: takes lines on how far it has come.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = out / "results.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    pool = Pool(say, workers, text)
    try:
        for key in only or KEYS:
            results[key] = _run(key, pool, quick=quick)
            file.write_text(json.dumps(results, indent=1))
            _write(out, results)
    finally:
        pool.close()
    return out / "results.md"


def _run(key: str, pool: Pool, *, quick: bool) -> dict[str, Any]:
    if key == STABILITY:
        return _stability(pool, (0, 1, 4) if quick else (0, 1, 2, 4, 8, 16))
    if key == HOGWILD:
        return hogwild(1 if quick else 5, pool.say)
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
    """Give the best late arm more updates, and see when it is where synchronous training ends."""
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
    parts = ["# What staleness costs, and what compensations win back", ""]
    for key in KEYS:
        if (found := results.get(key)) is None:
            continue
        parts += [f"## {found['title']}", "", found["about"], ""]
        for section in found["sections"]:
            parts += [f"### {section['title']}", "", *section["table"], ""]
    (out / "results.md").write_text("\n".join(parts))
    draw(results, out / "results.svg")
