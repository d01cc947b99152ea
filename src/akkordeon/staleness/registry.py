"""Compensations by name, for the command line."""

from collections.abc import Mapping

from akkordeon.staleness.compensation import Compensation
from akkordeon.staleness.delay_compensation import DelayCompensation

__all__ = ["COMPENSATIONS"]

COMPENSATIONS: Mapping[str, tuple[Compensation, ...]] = {
    "none": (),
    "delay": (DelayCompensation(),),
    "delay-constant": (DelayCompensation(adaptive=False),),
}
"""What a gate gets for a name; in the order they are applied."""
