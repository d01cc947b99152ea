"""Making up for late gradients: one file per family, formulas with references."""

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
