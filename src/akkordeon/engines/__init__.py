"""Runs actors. An engine knows no gate, no sentinel and no meaning of a message.

`Threads` runs them in this process, `Stepped` in a simulation with a virtual clock, `Ray` in processes on any machine
of a cluster. Open `akkordeon.actor.Engine` first, the port that all three keep, then `threads.engine.Threads`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from akkordeon.engines.ray.cluster.access import Access as Access
    from akkordeon.engines.ray.engine import Ray as Ray
    from akkordeon.engines.simulation.delays import Delays as Delays
    from akkordeon.engines.simulation.delays import by_actor as by_actor
    from akkordeon.engines.simulation.delays import constant as constant
    from akkordeon.engines.simulation.delays import exponential as exponential
    from akkordeon.engines.simulation.delays import lognormal as lognormal
    from akkordeon.engines.simulation.delays import normal as normal
    from akkordeon.engines.simulation.delays import uniform as uniform
    from akkordeon.engines.simulation.engine import Stepped as Stepped
    from akkordeon.engines.simulation.faults import Crashed as Crashed
    from akkordeon.engines.simulation.faults import Faults as Faults
    from akkordeon.engines.threads.engine import Threads as Threads

_MODULES = {
    "Threads": "threads.engine",
    "Stepped": "simulation.engine",
    "Ray": "ray.engine",
    "Access": "ray.cluster.access",
    **dict.fromkeys(("Crashed", "Faults"), "simulation.faults"),
    "Delays": "simulation.delays",
    **dict.fromkeys(("by_actor", "constant", "exponential", "lognormal", "normal", "uniform"), "simulation.delays"),
}
"""The module of each public name, imported when first used: an engine that is not used costs nothing."""

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'akkordeon.engines' has no attribute {name!r}")
    return getattr(import_module(f"akkordeon.engines.{_MODULES[name]}"), name)
