"""Gap-Aware against its formula, computed here for single numbers in plain Python."""

from collections.abc import Iterator
from functools import partial
from math import sqrt
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

import akkordeon as ak
from akkordeon.messages.leases import Setting
from tests.properties.numerics.arriving import GRADIENTS, LR, MOMENTUM, START, Late, M, arrivals, assert_follows, close


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_gap_aware_divides_by_how_far_the_weights_have_gone(decay: float) -> None:
    late = Late(ak.GapAware(decay=0.8), partial(MOMENTUM, weight_decay=decay))

    def formula(index: int) -> Iterator[float]:
        history, v, c = [START[index]], 0.0, 0.0
        for step, (g, staleness) in enumerate(arrivals(index)):
            w = history[-1]
            penalty = 1.0
            if staleness:
                usual = LR * (sqrt(c / (1 - 0.8**step)) + 1e-8)
                penalty += abs(w - history[-1 - staleness]) / usual
            v = M * v + (g + decay * w) / penalty
            history.append(w - LR * v)
            c = 0.8 * c + 0.2 * v * v
            yield history[-1]

    assert_follows(late, formula)


def test_gap_aware_goes_by_the_highest_rate_so_far() -> None:
    late = Late(ak.GapAware(), MOMENTUM).run(GRADIENTS[:2], [0, 0])
    late.learner.tune([Setting("lr", LR / 10, 1)])
    velocity = [M * a + b for a, b in zip(*GRADIENTS[:2], strict=True)]
    first = GRADIENTS[0]
    squares = [(0.999 * 0.001 * a * a + 0.001 * v * v) / (1 - 0.999**2) for a, v in zip(first, velocity, strict=True)]
    gap = [abs(now - before) for now, before in zip(late.history[-1], late.history[-2], strict=True)]
    now = late.now
    late.arrives([1.0, 1.0, 1.0], 1)
    for index in range(3):
        g = 1 / (1 + gap[index] / (LR * (sqrt(squares[index]) + 1e-8)))
        assert late.now[index] == close(now[index] - LR / 10 * (M * velocity[index] + g))


def test_gap_aware_changes_nothing_before_anything_has_moved() -> None:
    late = Late(ak.GapAware(), partial(SGD, lr=0.0, momentum=M)).run(GRADIENTS[:3], [0, 1, 2])
    assert late.now == START
    late.learner.tune([Setting("lr", LR, 1)])
    late.arrives(GRADIENTS[3], 2)
    velocity = [M * (M * (M * a + b) + c) + d for a, b, c, d in zip(*GRADIENTS[:4], strict=True)]
    assert late.now == close([w - LR * v for w, v in zip(START, velocity, strict=True)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gap_aware_measures_each_weight_by_its_own_steps(dtype: torch.dtype) -> None:
    """Two groups of other rates; a weight that has had one step, and its gradient thereafter half of the last one's."""
    weights = [nn.Parameter(torch.ones(1, dtype=dtype)) for _ in range(3)]
    usual, slow, late = weights
    groups: list[dict[str, Any]] = [{"params": [usual, late]}, {"params": [slow], "lr": 2**-7}]
    optimizer = SGD(groups, lr=2**-3, momentum=2**-20)
    compensator = ak.GapAware().start(weights, optimizer)
    for step in range(600):
        for weight in weights:
            weight.grad = None if weight is late and step < 599 else torch.ones(1, dtype=dtype)
        with torch.no_grad():  # so that rounding does not hide the steps
            for weight in weights:
                weight.fill_(1)
            then = [weight.clone() for weight in weights]
        optimizer.step()
        compensator.notice(0)
    gradients = [torch.ones(1, dtype=dtype) for _ in weights]
    corrected = compensator.correct(gradients, ak.Arrival(1, weights, then))
    assert [None if each is None else each.dtype for each in corrected] == [dtype] * 3
    assert [float(each) for each in corrected if each is not None] == pytest.approx([0.5, 0.5, 0.5], rel=1e-2)


def test_gap_aware_forgets_large_steps_in_half_precision_too() -> None:
    weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    optimizer = SGD([weight], lr=0.1, momentum=0.5)
    compensator = ak.GapAware(decay=0.99).start([weight], optimizer)
    for step in range(2000):
        weight.grad = torch.full((1,), 1.0 if step < 500 else 0.125, dtype=torch.bfloat16)
        optimizer.step()
        compensator.notice(0)
    assert float(compensator.state_dict()["squares"][0]) == pytest.approx(0.25**2, rel=1e-2)
