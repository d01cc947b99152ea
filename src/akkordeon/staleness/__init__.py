"""Making up for late gradients: one file per family, formulas with references."""

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator
from akkordeon.staleness.delay_compensation import DelayCompensation

__all__ = ["Arrival", "Compensation", "Compensator", "DelayCompensation"]
