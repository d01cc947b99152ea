"""Turns runs into tables: means, spreads, and the share of the cost of staleness that an arm regains."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from benchmarks.staleness.arms import SYNCHRONOUS, UNCOMPENSATED
from benchmarks.staleness.search import Best
from benchmarks.staleness.trial import Outcome

T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t for a two-sided 95 % interval, for 1 to 15 degrees of freedom; beyond, an approximation good to 0.1 %."""


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval, which is infinite for a single value."""

    mean: float
    low: float
    high: float

    @property
    def has_zero(self) -> bool:
        """Whether the interval contains 0."""
        return self.low <= 0 <= self.high


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of values and its interval by Student's t."""
    mean, count = fmean(values), len(values)
    if count < 2:
        return Interval(mean, -math.inf, math.inf)
    freedom = count - 1
    t = T_95[freedom - 1] if freedom <= len(T_95) else 1.96 + 2.37 / freedom + 2.82 / freedom**2
    half = t * stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def paired(these: Best, those: Best, of: Callable[[Outcome], float]) -> Interval | None:
    """Return the mean difference over the seeds; None if a run diverged."""
    pairs = zip(these.figures(of), those.figures(of), strict=True)
    differences = [a - b for a, b in pairs]
    return interval(differences) if all(map(math.isfinite, differences)) else None


def closed(arms: Mapping[str, Best], name: str) -> str:
    """Format the share of the gap in training loss, uncompensated to synchronous, that an arm closes."""
    if not {SYNCHRONOUS, UNCOMPENSATED} <= set(arms) or name in (SYNCHRONOUS, UNCOMPENSATED):
        return ""
    gap = paired(arms[UNCOMPENSATED], arms[SYNCHRONOUS], _loss)
    if gap is None:
        return "uncompensated diverged"
    one_seed = math.isinf(gap.low) and gap.mean > 0
    if gap.has_zero and not one_seed:
        return "no gap"
    left = paired(arms[name], arms[SYNCHRONOUS], _loss)
    return "" if left is None else f"{1 - left.mean / gap.mean:.0%}" + ", one seed" * one_seed


DIFFERENCE = "less synchronous, 95 %"
HEADS = ("arm", "η", "training loss", DIFFERENCE, "gap closed", "held-out loss", "accuracy", DIFFERENCE)


def table(arms: Mapping[str, Best], updates: int, accuracy: float | None, *, points: int) -> Iterator[str]:
    """Yield the lines of a table in markdown.

    Args:
        arms: by name.
        updates: of each run.
        accuracy: to reach, if the table counts updates until then.
        points: evaluations on held-out data per run.
    """
    soon = [] if accuracy is None else [f"updates to {accuracy:.0%}"]
    soon += ["tokens to the loss of synchronous"] if points >= 20 and accuracy is None and SYNCHRONOUS in arms else []
    heads = [*HEADS, *soon]
    yield "| " + " | ".join([*heads, "staleness"]) + " |"
    yield "| --- |" + " ---: |" * len(heads)
    for name, best in arms.items():
        cells = [name, f"{best.lr:.3g}{'*' if best.edge else ''}", *_figures(arms, name)]
        if accuracy is not None:
            cells.append(_mean([outcome.reached(accuracy) for outcome in best.outcomes.values()], ".0f"))
        elif soon:
            cells.append(_tokens(arms, best, updates))
        yield "| " + " | ".join([*cells, _staleness(best)]) + " |"
    if any(best.edge for best in arms.values()):
        yield ""
        yield "\\* the lowest or highest rate that was tried."


def _figures(arms: Mapping[str, Best], name: str) -> list[str]:
    best = arms[name]
    lost = sum(outcome.diverged for outcome in best.outcomes.values())
    if lost:
        return [f"{lost} of {len(best.outcomes)} diverged", *[""] * (len(HEADS) - 3)]
    held_out, accuracy = best.figures(lambda o: o.held_out), best.figures(_accuracy)
    loss_difference, accuracy_difference = (_less_synchronous(arms, name, of) for of in (_loss, _accuracy))
    return [
        _mean(best.figures(_loss), ".4f"),
        loss_difference,
        closed(arms, name),
        _mean(held_out, ".4f"),
        _mean(accuracy, ".2%"),
        accuracy_difference,
    ]


def _less_synchronous(arms: Mapping[str, Best], name: str, of: Callable[[Outcome], float]) -> str:
    if SYNCHRONOUS not in arms or name == SYNCHRONOUS:
        return ""
    difference = paired(arms[name], arms[SYNCHRONOUS], of)
    return "" if difference is None else _written(difference, ".2%" if of is _accuracy else ".4f")


def _written(difference: Interval, form: str) -> str:
    if math.isinf(difference.low):
        return f"{difference.mean:+{form}}"
    return f"{difference.mean:+{form}} ({difference.low:+{form}} … {difference.high:+{form}})"


def _mean(values: Sequence[float], form: str) -> str:
    if not all(map(math.isfinite, values)):
        return "never" if not any(map(math.isfinite, values)) else "not always"
    spread = f" ± {stdev(values):{form}}" if len(values) > 1 else ""
    return f"{fmean(values):{form}}{spread}"


def _tokens(arms: Mapping[str, Best], best: Best, updates: int) -> str:
    wanted = fmean(arms[SYNCHRONOUS].figures(lambda outcome: outcome.held_out))
    needed = [outcome.reached_loss(wanted) / updates for outcome in best.outcomes.values()]
    return f"{fmean(needed):.2f}" if all(map(math.isfinite, needed)) else "more than all"


def _staleness(best: Best) -> str:
    known = next((outcome.staleness for outcome in best.outcomes.values() if outcome.staleness), ())
    return " ".join(f"{each:.3g}" for each in known)


def _loss(outcome: Outcome) -> float:
    return outcome.loss


def _accuracy(outcome: Outcome) -> float:
    return outcome.accuracy


def as_json(arms: Mapping[str, Best]) -> dict[str, Any]:
    """Return all figures as plain values; infinity becomes None."""
    return {
        name: {
            "lr": best.lr,
            "edge": best.edge,
            "runs": {
                str(seed): {
                    "loss": _finite(outcome.loss),
                    "held_out": _finite(outcome.held_out),
                    "accuracy": outcome.accuracy,
                    "staleness": list(outcome.staleness),
                    "seconds": round(outcome.seconds, 2),
                    "curve": [list(point) for point in outcome.curve],
                }
                for seed, outcome in best.outcomes.items()
            },
        }
        for name, best in arms.items()
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
