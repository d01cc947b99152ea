"""Where actors run. An engine knows no gate, no sentinel and no meaning of a message."""

from akkordeon.engines.delays import Delays, by_actor, constant, exponential, lognormal, normal, uniform
from akkordeon.engines.faults import Crashed, Faults
from akkordeon.engines.ray import Ray
from akkordeon.engines.stepped import Stepped
from akkordeon.engines.threads import Threads

__all__ = [
    "Crashed",
    "Delays",
    "Faults",
    "Ray",
    "Stepped",
    "Threads",
    "by_actor",
    "constant",
    "exponential",
    "lognormal",
    "normal",
    "uniform",
]
