"""What is set while a network runs is what a plain loop does from there: bit for bit, in flight and in rates."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

import akkordeon as ak
from akkordeon.engines import Stepped
from akkordeon.gate.tuning import tune
from tests.network.patience import wait_until
from tests.properties.numerics.loops import (
    Batches,
    Recorder,
    assert_same,
    assert_same_tensors,
    cross_entropy,
    train_plainly,
)

LR = 0.05


def chain() -> list[nn.Module]:
    torch.manual_seed(7)
    return [nn.Sequential(nn.Linear(6, 8), nn.Tanh()), nn.Linear(8, 3)]


def make_batches(amount: int = 60) -> Batches:
    torch.manual_seed(7)
    return [(torch.randn(5, 6), torch.randint(3, (5,))) for _ in range(amount)]


@pytest.mark.parametrize("seed", range(4))
def test_one_in_flight_from_the_middle_of_a_run_on_is_a_plain_loop_from_there(seed: int) -> None:
    recorders, batches = (Recorder(), Recorder()), make_batches()
    gates = [
        ak.Gate(f"gate {n}", module, partial(SGD, lr=LR), recorder)
        for n, (module, recorder) in enumerate(zip(chain(), recorders, strict=True))
    ]
    with ak.launch(gates, engine=Stepped(seed, debug=True)) as network:
        network.attach(ak.TrainingSentinel("train", lambda: batches, cross_entropy, in_flight=4, epochs=1))
        wait_until(network, lambda: len(recorders[0].seen) >= 20)
        network.set("train", in_flight=1)
        asked = len(recorders[0].seen)
        (report,) = network.watch()
        model = network.model()
    late = [[each.arrival.staleness for each in recorder.seen] for recorder in recorders]
    begin = asked + 4  # those in flight come back first, and the one that is sent next has met none of them
    assert begin < len(batches) - 20
    assert all(any(of_gate[:asked]) and not any(of_gate[begin:]) for of_gate in late)
    assert report.samples == 5 * len(batches)
    plain = nn.Sequential(*chain())
    with torch.no_grad():
        there = [tensor for recorder in recorders for tensor in recorder.seen[begin].now]
        for parameter, tensor in zip(plain.parameters(), there, strict=True):
            parameter.copy_(tensor)
    train_plainly(plain, partial(SGD, lr=LR), batches[begin:], epochs=1)
    assert_same(model, plain)


OPTIMIZERS: list[tuple[Callable[..., Optimizer], dict[str, Any]]] = [
    (partial(SGD, lr=0.1, momentum=0.5), {"lr": 0.02}),
    (partial(SGD, lr=0.1, momentum=0.5), {"momentum": 0.9, "weight_decay": 0.01}),
    (partial(AdamW, lr=0.01), {"lr": 0.001, "weight_decay": 0.5}),
]


@pytest.mark.parametrize(("optimizer", "settings"), OPTIMIZERS)
def test_a_setting_of_a_gate_is_that_of_its_optimizer_from_there_on(
    optimizer: Callable[..., Optimizer], settings: dict[str, Any]
) -> None:
    batches = make_batches()
    gates = [ak.Gate(f"gate {n}", module, optimizer) for n, module in enumerate(chain())]
    with ak.launch(gates, engine=Stepped(debug=True)) as network:
        for number, part in enumerate((batches[:20], batches[20:])):
            if number:
                network.set("gate 1", **settings)
            network.attach(ak.TrainingSentinel("train", lambda part=part: part, cross_entropy, epochs=1))  # type: ignore[misc]
            list(network.watch())
        ours = network.model()
    plain = nn.Sequential(*chain())
    optimizers = [optimizer(list(part.parameters())) for part in plain]
    train_on(plain, optimizers, batches[:20])
    for group in optimizers[1].param_groups:
        group.update(settings)
    train_on(plain, optimizers, batches[20:])
    assert_same_tensors(list(ours.parameters()), list(plain.parameters()))


def train_on(model: nn.Module, optimizers: list[Optimizer], batches: Batches) -> None:
    for x, target in batches:
        loss = cross_entropy(model(x), target)
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        for optimizer in optimizers:
            optimizer.step()


def two_parts(optimizer: Optimizer) -> LRScheduler:
    parts: list[LRScheduler] = [LinearLR(optimizer, 0.1, total_iters=10), CosineAnnealingLR(optimizer, 30)]
    return SequentialLR(optimizer, parts, milestones=[10])


SCHEDULES: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "exponential": partial(ExponentialLR, gamma=0.9),
    "cosine": partial(CosineAnnealingLR, T_max=40),
    "lambda": partial(LambdaLR, lr_lambda=lambda step: 1 / (1 + step)),
    "linear": partial(LinearLR, start_factor=0.1, total_iters=20),
    "one cycle": partial(OneCycleLR, max_lr=0.2, total_steps=40, cycle_momentum=False),
    "sequential": two_parts,
}


def rates(scheduler: LRScheduler, optimizer: Optimizer, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found += [float(group["lr"]) for group in optimizer.param_groups]
    return found


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("before", [0, 4, 14])
def test_a_schedule_goes_on_from_the_rate_that_was_set(schedule: str, before: int) -> None:
    def begun() -> tuple[LRScheduler, Optimizer]:
        groups: list[dict[str, Any]] = [{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)]
        groups[1]["lr"] = 0.05
        optimizer = SGD(groups, lr=0.1)
        scheduler = SCHEDULES[schedule](optimizer)
        rates(scheduler, optimizer, before)
        return scheduler, optimizer

    scheduler, optimizer = begun()
    at = [float(group["lr"]) for group in optimizer.param_groups]
    as_it_was = rates(scheduler, optimizer, 20)
    scheduler, optimizer = begun()
    tune(optimizer, scheduler, "lr", 0.03)
    assert scheduler.get_last_lr() == [0.03, 0.03]
    expected = [rate * 0.03 / at[n % 2] for n, rate in enumerate(as_it_was)]
    assert rates(scheduler, optimizer, 20) == pytest.approx(expected)


def test_a_schedule_that_has_come_to_nothing_begins_at_the_rate_that_is_set() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = LambdaLR(optimizer, lambda step: min(1.0, step / 4))
    tune(optimizer, scheduler, "lr", 0.2)
    assert rates(scheduler, optimizer, 4) == pytest.approx([0.05, 0.1, 0.15, 0.2])


def test_a_rate_that_is_a_tensor_stays_one() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = AdamW([parameter], lr=torch.tensor(0.1))
    held = optimizer.param_groups[0]["lr"]
    tune(optimizer, None, "lr", 0.5)
    assert optimizer.param_groups[0]["lr"] is held
    assert float(held) == 0.5
