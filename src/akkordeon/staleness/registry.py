"""Compensations by name, for the command line."""

from collections.abc import Callable, Mapping

from akkordeon.staleness.compensation import Compensation
from akkordeon.staleness.delay_compensation import DelayCompensation
from akkordeon.staleness.gap_aware import GapAware
from akkordeon.staleness.gem import GradientEnergyMatching
from akkordeon.staleness.guards import StalenessLimit, StalenessScaledRate
from akkordeon.staleness.pipemare import DiscrepancyCorrection, RateRescheduling
from akkordeon.staleness.spike_compensation import SpikeCompensation
from akkordeon.staleness.weight_prediction import WeightPrediction

Make = Callable[[float | None], Compensation]

COMPENSATIONS: Mapping[str, Make] = {
    "delay": DelayCompensation,
    "delay-constant": lambda strength: DelayCompensation(strength, adaptive=False),
    "spike": lambda _: SpikeCompensation(),
    "linear": lambda scale: WeightPrediction("linear", 1.0 if scale is None else scale),
    "decaying": lambda scale: WeightPrediction("decaying", 1.0 if scale is None else scale),
    "last-step": lambda scale: WeightPrediction("last step", 1.0 if scale is None else scale),
    "gap-aware": lambda decay: GapAware() if decay is None else GapAware(decay),
    "energy": lambda momentum: GradientEnergyMatching() if momentum is None else GradientEnergyMatching(momentum),
    "rate": lambda power: StalenessScaledRate(1.0 if power is None else power),
    "rescheduling": lambda updates: RateRescheduling(1000 if updates is None else round(updates)),
    "discrepancy": lambda decay: DiscrepancyCorrection() if decay is None else DiscrepancyCorrection(decay),
    "limit": lambda limit: StalenessLimit(8 if limit is None else round(limit)),
}
"""What makes a compensation, given its one number, or None for what is usual."""


def named(text: str) -> tuple[Compensation, ...]:
    """Return what a text names: "none", or compensations with commas in between, each with =NUMBER or without.

    Raises:
        ValueError: there is none of a name, or its number cannot be.
    """
    return () if text == "none" else tuple(_one(each.strip()) for each in text.split(","))


def _one(text: str) -> Compensation:
    name, equals, number = text.partition("=")
    if name not in COMPENSATIONS:
        raise ValueError(f"there is no compensation {name!r}; there are: none, {', '.join(COMPENSATIONS)}")
    try:
        value = float(number) if equals else None
    except ValueError:
        raise ValueError(f"{text!r}: {number!r} is no number") from None
    try:
        return COMPENSATIONS[name](value)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
