"""A process that joins a network sends a handshake; the refusal names each difference with both values."""

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
from akkordeon.conductor.handshake import Handshake, own_handshake, shapes


def gates(width: int = 4, names: tuple[str, str] = ("stem", "head")) -> list[ak.Gate]:
    modules = (nn.Linear(3, width), nn.Linear(width, 2))
    return [ak.Gate(name, module, partial(SGD, lr=0.1)) for name, module in zip(names, modules, strict=True)]


OWN = own_handshake(gates(), x=("float32 3",), target=("int64 scalar",))


def test_a_process_that_agrees_may_join() -> None:
    assert OWN.refusal(own_handshake(gates(), OWN.x, OWN.target), "a process") is None
    assert OWN.refusal(own_handshake(), "a process without a recipe") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": 0}, "the network has protocol 2, and it 0"),
        ({"package": "9.9"}, "and it 9.9: install the same version on both"),
        ({"python": "3.99"}, "and it 3.99"),
        ({"torch": "1.0"}, "and it 1.0"),
        (
            {"gates": own_handshake(gates(width=5)).gates},
            "gate 'stem' of its recipe has weight float32 5x3, and the network",
        ),
        (
            {"gates": own_handshake(gates(names=("stem", "tail"))).gates},
            "stem, tail, and those of the network stem, head",
        ),
        ({"x": ("float32 1x28x28",)}, "its inputs are float32 1x28x28, and those of the network float32 3"),
        ({"target": ("float32 2",)}, "its targets are float32 2, and those of the network int64 scalar"),
    ],
)
def test_what_differs_is_named_with_both_values(change: dict[str, Any], said: str) -> None:
    refusal = OWN.refusal(replace(OWN, **change), "sentinel 'train'")
    assert refusal is not None
    assert "sentinel 'train' cannot join: " in str(refusal)
    assert said in str(refusal)


def test_the_first_process_that_reports_shapes_sets_them() -> None:
    completed = own_handshake(gates()).completed(own_handshake(None, ("float32 3",)))
    assert "its inputs are int64 7" in str(completed.refusal(own_handshake(None, ("int64 7",)), "the second"))
    assert completed.completed(own_handshake(None, ("int64 7",), ("int64 1",))) == replace(
        completed, target=("int64 1",)
    )


def test_the_shapes_of_a_batch_are_those_of_a_sample() -> None:
    batch = (torch.zeros(8, 1, 28, 28), {"mask": torch.zeros(8, dtype=torch.bool)})
    assert shapes(batch) == ("float32 1x28x28", "bool scalar")


def test_a_sentinel_whose_handshake_differs_is_refused(engine: Engine) -> None:
    def data() -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))]

    with ak.launch(gates(), engine=engine) as network:
        sentinel = ak.TrainingSentinel("train", data, cross_entropy, epochs=1)
        with pytest.raises(ak.WiringError, match="gate 'stem' of its recipe has weight float32 9x3"):
            network.attach(sentinel, own_handshake(gates(width=9)))
        network.attach(sentinel, own_handshake(gates()))
        assert [report.samples for report in network.watch()] == [4]


def test_a_handshake_is_of_plain_values() -> None:
    assert isinstance(OWN, Handshake)
    assert OWN.gates == {
        "stem": {"weight": "float32 4x3", "bias": "float32 4"},
        "head": {"weight": "float32 2x4", "bias": "float32 2"},
    }
