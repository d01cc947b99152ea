"""Compensations for stale gradients, one file per family, with formulas and papers; open `Compensation` first.

A new compensation needs its own file, with `@publish` for a name on the command line, and its import below.
Gates call compensators, but compensations know no gate: each works in a plain PyTorch loop, too.
"""

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator, Gradients
from akkordeon.staleness.delay_compensation import DelayCompensation
from akkordeon.staleness.gap_aware import GapAware
from akkordeon.staleness.gem import GradientEnergyMatching
from akkordeon.staleness.guards import StalenessLimit, StalenessScaledRate
from akkordeon.staleness.nadamw import nadamw
from akkordeon.staleness.pipemare import DiscrepancyCorrection, RateRescheduling
from akkordeon.staleness.spike_compensation import SpikeCompensation
from akkordeon.staleness.weight_prediction import WeightPrediction

__all__ = [
    "Arrival",
    "Compensation",
    "Compensator",
    "DelayCompensation",
    "DiscrepancyCorrection",
    "GapAware",
    "GradientEnergyMatching",
    "Gradients",
    "RateRescheduling",
    "SpikeCompensation",
    "StalenessLimit",
    "StalenessScaledRate",
    "WeightPrediction",
    "nadamw",
]
