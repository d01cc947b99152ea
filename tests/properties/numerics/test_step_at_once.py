"""Small gates are stepped in one call per operation, which changes no bit."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from akkordeon.gate.updates import SAME_BITS, SMALL_GATE, step_at_once

SETTINGS: dict[str, dict[str, Any]] = {
    "as they are": {},
    "with momentum and decay": {"momentum": 0.9, "weight_decay": 0.01},
    "with Nesterov's momentum": {"momentum": 0.9, "nesterov": True},
    "centered": {"centered": True, "momentum": 0.9},
    "with the largest second moment": {"amsgrad": True, "weight_decay": 0.1},
    "uphill": {"maximize": True},
}


def trained(make: Callable[[list[nn.Parameter]], Optimizer], *, at_once: bool) -> list[Tensor]:
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape)) for shape in ((50, 78), (50,), (1,), (33, 7))]
    optimizer = make(parameters)
    if at_once:
        step_at_once(optimizer)
        assert all(group["foreach"] for group in optimizer.param_groups)
    for _ in range(30):
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("kind", SAME_BITS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_bits_are_those_of_one_by_one(kind: Any, settings: dict[str, Any]) -> None:
    known = {name: value for name, value in settings.items() if name in kind([nn.Parameter(torch.zeros(1))]).defaults}
    make = partial(kind, lr=0.01, **known)
    for one, other in zip(trained(make, at_once=True), trained(make, at_once=False), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "make",
    [
        partial(optim.NAdam, lr=0.01),  # yields other bits
        partial(optim.SGD, lr=0.01, foreach=False),
        partial(optim.Adam, lr=0.01, fused=True),
        partial(optim.Adam, lr=0.01, differentiable=True),
        partial(optim.Adam, lr=torch.tensor(0.01)),  # torch refuses it
    ],
    ids=["other bits", "told not to", "fused", "differentiable", "a tensor"],
)
def test_what_was_chosen_stays(make: Callable[[list[nn.Parameter]], Optimizer]) -> None:
    optimizer = make([nn.Parameter(torch.zeros(2))])
    before = optimizer.param_groups[0]["foreach"]
    step_at_once(optimizer)
    assert optimizer.param_groups[0]["foreach"] is before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.complex64], ids=str)
def test_groups_with_weights_of_other_types_are_left_alone(dtype: torch.dtype) -> None:
    plain, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, dtype=dtype))
    groups: list[dict[str, Any]] = [{"params": [plain]}, {"params": [plain.detach().clone(), other]}]
    optimizer = optim.SGD(groups, lr=0.01)
    step_at_once(optimizer)
    assert [group["foreach"] for group in optimizer.param_groups] == [True, None]


def test_large_gates_are_left_alone() -> None:
    optimizer = optim.SGD([nn.Parameter(torch.zeros(SMALL_GATE + 1))], lr=0.01)
    step_at_once(optimizer)
    assert optimizer.param_groups[0]["foreach"] is None
