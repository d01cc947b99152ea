"""Draws the training loss of every arm, with its spread."""

import logging
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

logger = logging.getLogger(__name__)


def draw(results: Mapping[str, Any], file: Path) -> None:
    """Draw one panel per table; without matplotlib, log a warning and draw nothing."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError:
        logger.warning('no figure: matplotlib is missing; pip install "akkordeon[plot]"')
        return
    panels = [
        (found["title"], section)
        for found in results.values()
        for section in found["sections"]
        if any(_losses(arm) for arm in section["arms"].values())
    ]
    if not panels:
        return
    figure = Figure(figsize=(9, sum(1 + 0.25 * len(section["arms"]) for _, section in panels)), layout="constrained")
    heights = [1 + 0.25 * len(section["arms"]) for _, section in panels]
    axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axis, (title, section) in zip(axes, panels, strict=True):
        known = {name: losses for name, arm in section["arms"].items() if (losses := _losses(arm))}
        names = list(known)[::-1]
        spreads = [stdev(known[name]) if len(known[name]) > 1 else 0.0 for name in names]
        axis.errorbar([fmean(known[name]) for name in names], names, xerr=spreads, fmt="o", capsize=3)
        axis.set_title(f"{title}\n{section['title']}", fontsize=9, loc="left")
        axis.set_xlabel("training loss", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", alpha=0.3)
    figure.savefig(file)


def _losses(arm: Mapping[str, Any]) -> list[float]:
    """Return the losses of an arm; none if a run diverged."""
    found = [run["loss"] for run in arm["runs"].values()]
    return found if all(each is not None for each in found) else []
