"""Draw the figures of speed: one panel for each model of the quiet machine, and one for what is uneven.

    python benchmarks/speed/figure.py  # out of figures.json and uneven.json; writes speed.svg

Dots are medians over the rounds, bars their interval of 95 %, marks what is aimed at; more is better, but for lost
time. Needs `pip install "akkordeon[plot]"`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cases import CASES
from quiet import OURS, PLAIN

from akkordeon.bench.apart import of_the_median
from models import MODELS

HERE = Path(__file__).parent
WIDTH, ROW = 9.0, 0.27
"""Inches, of the figure and of a line in it."""

Round = Mapping[str, float]
Lines = dict[str, list[float]]
"""Values of each line, one per round."""


def quiet(found: Sequence[Round]) -> Lines:
    """Return throughput as a ratio to plain PyTorch at its best."""
    lines: Lines = {}
    for each in found:
        best = min(each[plain] for plain in PLAIN)
        for arm, seconds in each.items():
            lines.setdefault(arm, []).append(best / seconds)
    return lines


def panel(axis: Any, title: str, lines: Lines, wanted: Mapping[str, float]) -> None:
    """Draw one dot with its bar for each line, and a mark where it should be."""
    names = list(lines)[::-1]
    middles, lows, highs = zip(*(of_the_median(lines[name]) for name in names), strict=True)
    bars = [
        [m - low for m, low in zip(middles, lows, strict=True)],
        [h - m for m, h in zip(middles, highs, strict=True)],
    ]
    axis.axvline(1.0, color="0.6", linewidth=1)
    axis.errorbar(middles, names, xerr=bars, fmt="o", capsize=3)
    for name, value in wanted.items():
        axis.plot([value], [name], marker="|", markersize=14, color="tab:red")
    axis.set_title(title, fontsize=9, loc="left")
    axis.tick_params(labelsize=8)
    axis.set_xlim(left=min(0, *lows))
    axis.grid(axis="x", alpha=0.3)


def panels() -> list[tuple[str, Lines, dict[str, float]]]:
    """Return title, lines and targets of each panel."""
    of_models = json.loads((HERE / "figures.json").read_text())
    of_cases = json.loads((HERE / "uneven.json").read_text())
    drawn: list[tuple[str, Lines, dict[str, float]]] = [
        (f"{name}: throughput to plain PyTorch at its best", quiet(of_models[name]), {OURS: model.target})
        for name, model in MODELS.items()
        if name in of_models
    ]
    lines: Lines = {}
    wanted = {}
    for name, case in CASES.items():
        if name in of_cases:
            line = f"{case.title}:\n{case.question}"
            lines[line], wanted[line] = [case.ratio(each) for each in of_cases[name]], float(case.target[3:])
    drawn.append(("where something is uneven", lines, wanted))
    return drawn


def draw(file: Path) -> None:
    """Draw all panels, one below the other."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError:
        raise SystemExit('matplotlib is missing; pip install "akkordeon[plot]"') from None
    drawn = panels()
    heights = [0.8 + ROW * len(lines) * (1 + any("\n" in line for line in lines)) for _, lines, _ in drawn]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    axes = figure.subplots(len(drawn), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axis, (title, lines, wanted) in zip(axes, drawn, strict=True):
        panel(axis, title, lines, wanted)
    figure.savefig(file)


if __name__ == "__main__":
    try:
        draw(HERE / "speed.svg")
    except FileNotFoundError as missing:
        raise SystemExit(f"{missing.filename} is missing: run quiet.py and uneven.py first") from None
