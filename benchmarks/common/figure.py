"""Draws results as dots with intervals, in panels one below the other.

Dots are medians over the rounds, bars their 95 % intervals, and red marks the targets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common.apart import of_the_median

WIDTH, ROW = 9.0, 0.27
"""Inches: width of the figure, and height of one line of text in it."""


@dataclass(frozen=True)
class Panel:
    """One panel of a figure.

    Args:
        title: above it.
        lines: values by name, one per round.
        targets: by name of the line, where it has one.
    """

    title: str
    lines: Mapping[str, Sequence[float]]
    targets: Mapping[str, float] = field(default_factory=dict)

    @property
    def height(self) -> float:
        """Inches that the panel needs; names of two lines need twice the height."""
        return 0.8 + ROW * len(self.lines) * (1 + any("\n" in name for name in self.lines))

    def draw(self, axis: Any) -> None:
        """Draw one dot with its bar per line, and a mark at its target."""
        names = list(self.lines)[::-1]
        middles, lows, highs = zip(*(of_the_median(self.lines[name]) for name in names), strict=True)
        bars = [
            [m - low for m, low in zip(middles, lows, strict=True)],
            [h - m for m, h in zip(middles, highs, strict=True)],
        ]
        axis.axvline(1.0, color="0.6", linewidth=1)
        axis.errorbar(middles, names, xerr=bars, fmt="o", capsize=3)
        for name, target in self.targets.items():
            axis.plot([target], [name], marker="|", markersize=14, color="tab:red")
        axis.set_title(self.title, fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        axis.set_xlim(left=min(0, *lows))
        axis.grid(axis="x", alpha=0.3)


def draw(folder: Path, panels: Sequence[Panel]) -> None:
    """Write `figure.svg`.

    Raises:
        SystemExit: matplotlib is missing, or there are no results.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError:
        raise SystemExit('matplotlib is missing; pip install "akkordeon[plot]"') from None
    if not panels:
        raise SystemExit(f"{folder / 'results.json'} has no results: run the benchmark first")
    heights = [panel.height for panel in panels]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for panel, axis in zip(panels, axes, strict=True):
        panel.draw(axis)
    figure.savefig(folder / "figure.svg", metadata={"Date": None})
