"""The ways in which each model is trained as gates: engine, activations, computations, and where it is cut."""

from dataclasses import dataclass
from itertools import product
from typing import Literal

from akkordeon.actor import Engine
from akkordeon.engines import Stepped, Threads

Activations = Literal["stashed", "recomputed"]
Where = Literal["threads", "simulation"]


@dataclass(frozen=True)
class Arrangement:
    """One way to train a model as gates.

    Args:
        where: the engine.
        activations: of all gates.
        computations: likewise.
        whole: whether all pieces are in one gate.
    """

    where: Where
    activations: Activations
    computations: int
    whole: bool = False

    def __str__(self) -> str:
        cut = "whole" if self.whole else "pieces"
        return f"{self.where}, {self.activations}, {self.computations}, {cut}"

    def engine(self) -> Engine:
        """Make an engine that notices writes into what was sent."""
        return Threads(2, debug=True) if self.where == "threads" else Stepped(seed=1, debug=True)


ENGINES: tuple[Where, ...] = ("threads", "simulation")
ACTIVATIONS: tuple[Activations, ...] = ("stashed", "recomputed")

ARRANGEMENTS = (
    *(Arrangement(*each) for each in product(ENGINES, ACTIVATIONS, (1, 2))),
    Arrangement("threads", "recomputed", 2, whole=True),
    Arrangement("simulation", "stashed", 1, whole=True),
)

LATE = tuple(Arrangement(where, "stashed", computations) for where, computations in product(ENGINES, (1, 2)))
"""Those in which gradients with several batches in flight are compared."""


def arrangements(*, whole: bool) -> list[Arrangement]:
    """Return all; those in which all pieces are in one gate only where that is asked for."""
    return [each for each in ARRANGEMENTS if whole or not each.whole]
