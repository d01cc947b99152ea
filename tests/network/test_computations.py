"""How many batches a gate computes at once, where its description leaves that open."""

from functools import partial

import pytest
from torch import nn
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Actor, Engine, Ref
from akkordeon.engines import Stepped, Threads


def asked_for(engine: Engine, computations: int | None) -> int:
    """Return how many computations at once the actor of a gate is spawned with."""
    asked: list[int] = []
    spawn = engine.spawn

    def watched(name: str, make: "type[Actor]", **settings: object) -> Ref:
        if name.startswith("gate"):
            asked.append(settings["computations"])  # type: ignore[arg-type]
        return spawn(name, make, **settings)  # type: ignore[arg-type]

    engine.spawn = watched  # type: ignore[method-assign, assignment]
    with ak.launch([ak.Gate("a", nn.Linear(2, 2), partial(SGD, lr=0.1), computations=computations)], engine=engine):
        return asked[0]


@pytest.mark.parametrize(
    ("workers", "computations", "expected"), [(1, None, 1), (2, None, 2), (4, None, 2), (2, 1, 1), (1, 3, 3)]
)
def test_on_threads_two_at_once_if_there_are_as_many_workers(
    workers: int, computations: int | None, expected: int
) -> None:
    assert asked_for(Threads(workers, debug=True), computations) == expected


@pytest.mark.parametrize(("computations", "expected"), [(None, 1), (2, 2)])
def test_on_the_simulation_one_at_once(computations: int | None, expected: int) -> None:
    assert asked_for(Stepped(seed=1), computations) == expected
