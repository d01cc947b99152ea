"""Who joins a network shows papers; what differs is named with both values."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.conductor.handshake import Door, Handshake, papers, shapes


def gates(width: int = 4, names: tuple[str, str] = ("stem", "head")) -> list[ak.Gate]:
    modules = (nn.Linear(3, width), nn.Linear(width, 2))
    return [ak.Gate(name, module, partial(SGD, lr=0.1)) for name, module in zip(names, modules, strict=True)]


OWN = papers(gates(), x=("float32 3",), target=("int64 scalar",))


def test_who_agrees_may_join() -> None:
    assert Door(OWN).refusal(papers(gates(), OWN.x, OWN.target), "somebody") is None
    assert Door(OWN).refusal(papers(), "somebody without a recipe") is None
    assert Door(OWN).refusal(None, "somebody of this process") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": 0}, "the network has protocol 1, and it 0"),
        ({"package": "9.9"}, "and it 9.9: install the same version on both"),
        ({"python": "3.99"}, "and it 3.99"),
        ({"torch": "1.0"}, "and it 1.0"),
        ({"gates": papers(gates(width=5)).gates}, "gate 'stem' of its recipe has weight float32 5x3, and the network"),
        ({"gates": papers(gates(names=("stem", "tail"))).gates}, "are stem, tail, and those of the network stem, head"),
        ({"x": ("float32 1x28x28",)}, "its inputs are float32 1x28x28, and those of the network float32 3"),
        ({"target": ("float32 2",)}, "its targets are float32 2, and those of the network int64 scalar"),
    ],
)
def test_what_differs_is_named_with_both_values(change: dict[str, Any], said: str) -> None:
    refusal = Door(OWN).refusal(replace(OWN, **change), "sentinel 'train'")
    assert refusal is not None
    assert "sentinel 'train' cannot join: " in str(refusal)
    assert said in str(refusal)


def test_the_first_who_joins_says_what_the_data_are_like() -> None:
    door = Door(papers(gates()))
    assert door.refusal(papers(None, ("float32 3",)), "the first") is None
    assert "its inputs are int64 7" in str(door.refusal(papers(None, ("int64 7",)), "the second"))


def test_the_shapes_of_a_batch_are_those_of_a_sample() -> None:
    batch = (torch.zeros(8, 1, 28, 28), {"mask": torch.zeros(8, dtype=torch.bool)})
    assert shapes(batch) == ("float32 1x28x28", "bool scalar")


def test_a_sentinel_with_other_papers_is_refused(engine: Engine) -> None:
    def data() -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))]

    with ak.launch(gates(), engine=engine) as network:
        sentinel = ak.TrainingSentinel("train", data, cross_entropy, epochs=1)
        with pytest.raises(ak.WiringError, match="gate 'stem' of its recipe has weight float32 9x3"):
            network.attach(sentinel, papers(gates(width=9)))
        network.attach(sentinel, papers(gates()))
        assert [report.samples for report in network.watch()] == [4]


def test_papers_are_plain_values() -> None:
    assert isinstance(OWN, Handshake)
    assert OWN.gates == {
        "stem": {"weight": "float32 4x3", "bias": "float32 4"},
        "head": {"weight": "float32 2x4", "bias": "float32 2"},
    }
