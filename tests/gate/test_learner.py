"""Where a gate computes, and where its copies are."""

from functools import partial

import torch
from torch import nn
from torch.optim import SGD

from akkordeon.gate.backward import Graph
from akkordeon.gate.description import Gate
from akkordeon.gate.learner import Learner
from akkordeon.gate.versions import Snapshot

ELSEWHERE = torch.device("meta")
"""Not the CPU, and everywhere there is torch."""

sgd = partial(SGD, lr=0.1)


def test_a_gate_computes_where_its_module_is() -> None:
    assert Learner(Gate("body", nn.Linear(2, 2, device=ELSEWHERE), sgd)).device == ELSEWHERE
    assert Learner(Gate("body", nn.Linear(2, 2), sgd)).device is None
    assert Learner(Gate("body", nn.Identity())).device is None


def test_a_gate_computes_where_it_is_told_to() -> None:
    learner = Learner(Gate("body", nn.Linear(2, 2), sgd, device="meta"))
    assert learner.device == ELSEWHERE
    assert {tensor.device for tensor in learner.weights.snapshot().tensors} == {ELSEWHERE}


def test_a_gradient_may_come_from_another_device() -> None:
    x = torch.ones(3, device=ELSEWHERE, requires_grad=True)
    found = Graph((x,), (x * 2,), Snapshot(0, (), ())).gradients([torch.ones(3)])
    assert found.of_inputs[0] is not None
    assert found.of_inputs[0].device == ELSEWHERE
