"""Draws runs for papers: loss and metrics, staleness, and where the time of gates goes; several runs side by side."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akkordeon.errors import RunUnreadable, WiringError
from akkordeon.views.frames import SPENT, in_order
from akkordeon.views.reading import Plain, read_events

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f")
"""Those of Okabe and Ito, which people tell apart whatever colours they see."""

LINES = ("-", "--", ":", "-.")
"""Of the runs, one after the other."""

OF_SPENT = dict(zip(SPENT, ("#0072b2", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#e69f00", "#c9ced3"), strict=True))


class PlottedRun:
    """What a figure needs of a run.

    Args:
        name: in the legend.
        events: of the run, in order.

    Attributes:
        reports: of epochs.
        gates: the last event of each gate, by name, in the order of the chain.

    Raises:
        RunUnreadable: nothing was reported yet.
    """

    def __init__(self, name: str, events: Iterable[Plain]) -> None:
        self.name = name
        self.reports: list[Plain] = []
        gates: dict[str, Plain] = {}
        for event in events:
            if event["event"] == "report":
                self.reports.append(event)
            elif event["event"] == "gate":
                gates[event["name"]] = event
        if not self.reports:
            raise RunUnreadable(f"{name} has no report yet: no epoch is over")
        self.gates = {each: gates[each] for each in in_order(gates)}

    def figures(self) -> list[str]:
        """Return the names of what its sentinels report: the loss, and metrics."""
        return list(dict.fromkeys(["loss", *(name for each in self.reports for name in each["metrics"])]))

    def curve(self, sentinel: str, figure: str, *, by_samples: bool) -> tuple[list[float], list[float]]:
        """Return the curve of a figure of a sentinel: seconds, or samples trained until then; and values."""
        xs, ys, trained = [], [], 0.0
        for report in self.reports:
            trained += report["samples"] if report["kind"] == "train" else 0
            value = report["loss"] if figure == "loss" else report["metrics"].get(figure)
            if report["sentinel"] == sentinel and value is not None:
                xs.append(trained if by_samples else report["t"])
                ys.append(value)
        return xs, ys

    def sentinels(self) -> list[str]:
        """Return the names of those that have reported."""
        return list(dict.fromkeys(each["sentinel"] for each in self.reports))

    def staleness(self) -> dict[str, Mapping[int, int]]:
        """Return how often each staleness came, by gate; over the whole run."""
        found: dict[str, dict[int, int]] = {}
        for report in self.reports:
            for gate, figures in report["staleness"].items():
                counts = found.setdefault(gate, {})
                for value, times in figures["counts"].items():
                    counts[int(value)] = counts.get(int(value), 0) + times
        return dict(found)


def read_runs(folders: Sequence[Path]) -> list[PlottedRun]:
    """Return the runs of some folders.

    Raises:
        RunUnreadable: there is no run in one of them, or nothing was reported yet.
    """
    return [PlottedRun(folder.name or str(folder), read_events(folder)) for folder in folders]


def plot(runs: Sequence[PlottedRun]) -> "Figure":
    """Draw runs: a row of curves by seconds, one by samples, and one of staleness and time.

    Raises:
        WiringError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra
        from matplotlib.figure import Figure  # noqa: PLC0415 - likewise
    except ImportError:
        raise WiringError("plots need matplotlib; install it: pip install 'akkordeon[plot]'") from None
    figures = list(dict.fromkeys(name for run in runs for name in run.figures()))
    columns = max(2, len(figures))
    style: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.2 * columns, 8.4), layout="constrained")
        axes = figure.subplots(3, columns, squeeze=False)
        for column, name in enumerate(figures):
            for row, by_samples in enumerate((False, True)):
                _draw_curves(axes[row][column], runs, name, by_samples=by_samples)
        _draw_staleness(axes[2][0], runs)
        _draw_time(axes[2][1], runs)
        for unused in (*axes[0][len(figures) :], *axes[1][len(figures) :], *axes[2][2:]):
            unused.set_axis_off()
    return figure


def _draw_curves(axes: "Axes", runs: Sequence[PlottedRun], figure: str, *, by_samples: bool) -> None:
    sentinels = list(dict.fromkeys(name for run in runs for name in run.sentinels()))
    for number, run in enumerate(runs):
        for sentinel in run.sentinels():
            x, y = run.curve(sentinel, figure, by_samples=by_samples)
            color = COLORS[sentinels.index(sentinel) % len(COLORS)]
            label = sentinel if len(runs) == 1 else f"{run.name}: {sentinel}"
            marker = "o" if len(x) < 20 else ""
            axes.plot(x, y, LINES[number % len(LINES)], color=color, label=label, marker=marker, markersize=3)
    axes.set(xlabel="samples trained" if by_samples else "seconds", ylabel=figure)
    axes.legend(frameon=False, fontsize=8)


def _draw_staleness(axes: "Axes", runs: Sequence[PlottedRun]) -> None:
    gates = list(dict.fromkeys(gate for run in runs for gate in run.staleness()))
    for number, run in enumerate(runs):
        for gate, counts in run.staleness().items():
            total, so_far, shares = sum(counts.values()), 0, []
            for value in sorted(counts):
                so_far += counts[value]
                shares.append(so_far / total)
            label = gate if len(runs) == 1 else f"{run.name}: {gate}"
            color, line = COLORS[gates.index(gate) % len(COLORS)], LINES[number % len(LINES)]
            axes.step(sorted(counts), shares, line, where="post", color=color, label=label, marker=".")
    axes.set(xlabel="staleness, updates", ylabel="share of updates, at most", ylim=(0, 1.05))
    if gates:
        axes.legend(frameon=False, fontsize=8)


def _draw_time(axes: "Axes", runs: Sequence[PlottedRun]) -> None:
    rows = [
        (gate if len(runs) == 1 else f"{run.name}: {gate}", line) for run in runs for gate, line in run.gates.items()
    ]
    left = [0.0] * len(rows)
    for what, color in OF_SPENT.items():
        spent = [line.get("spent") or {} for _, line in rows]
        wide = [each.get(what, 0.0) / (sum(each.values()) or 1.0) for each in spent]
        axes.barh([name for name, _ in rows], wide, left=left, color=color, label=what)
        left = [a + b for a, b in zip(left, wide, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="share of the time", xlim=(0, 1))
    axes.legend(frameon=False, fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def save(figure: Any, file: Path) -> None:
    """Write a figure, in the format that the name ends in.

    Raises:
        WiringError: there is no such format, or the file cannot be written.
    """
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    try:
        with mpl.rc_context({"svg.fonttype": "none"}):  # text stays text, which papers set in their own type
            figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise WiringError(f"cannot write {file}: {error}") from error
