"""Every optimizer and scheduler of torch goes on after a return as if there had been none, bit for bit."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

import akkordeon as ak
from tests.networks import data, stepped
from tests.properties.numerics.loops import assert_same
from tests.saving.saves import run_until

SIZES = (5,) * 12

UNFIT = {"Optimizer", "LBFGS", "SparseAdam"}
"""No optimizer of its own, needs a closure, needs sparse gradients."""

OPTIMIZERS = sorted(
    name for name, kind in vars(optim).items() if inspect.isclass(kind) and name not in UNFIT and "Optim" not in name
)

SCHEDULERS: dict[str, Any] = {
    "lambda": partial(lr_scheduler.LambdaLR, lr_lambda=lambda step: 0.9**step),
    "multiplicative": partial(lr_scheduler.MultiplicativeLR, lr_lambda=lambda _: 0.9),
    "step": partial(lr_scheduler.StepLR, step_size=5),
    "milestones": partial(lr_scheduler.MultiStepLR, milestones=[4, 9, 9, 20]),
    "constant": partial(lr_scheduler.ConstantLR, total_iters=9),
    "linear": partial(lr_scheduler.LinearLR, total_iters=15),
    "exponential": partial(lr_scheduler.ExponentialLR, gamma=0.9),
    "polynomial": partial(lr_scheduler.PolynomialLR, total_iters=20),
    "cosine": partial(lr_scheduler.CosineAnnealingLR, T_max=7),
    "warm restarts": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=4, T_mult=2),
    "cyclic": partial(lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=5, mode="exp_range", gamma=0.99),
    "one cycle": partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=25),
}


def sequential(optimizer: optim.Optimizer) -> LRScheduler:
    parts = [lr_scheduler.LinearLR(optimizer, total_iters=5), lr_scheduler.CosineAnnealingLR(optimizer, 9)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[8])


SCHEDULERS["sequential"] = sequential


def gates(optimizer: Any, scheduler: Any = None) -> list[ak.Gate]:
    torch.manual_seed(4)
    modules = {"stem": nn.Linear(4, 6, bias=False), "head": nn.Linear(6, 3, bias=False)}  # Muon takes matrices alone
    return [ak.Gate(name, module, optimizer, scheduler=scheduler) for name, module in modules.items()]


def described() -> ak.TrainingSentinel:
    return ak.TrainingSentinel("train", data(SIZES), nn.functional.cross_entropy, epochs=2)


def assert_goes_on(folder: Path, optimizer: Any, scheduler: Any = None) -> None:
    with ak.launch(gates(optimizer, scheduler), engine=stepped()) as network:
        network.attach(described())
        list(network.watch())
        expected = network.model()
    with ak.launch(gates(optimizer, scheduler), engine=stepped()) as network:
        network.attach(described())
        run_until(network, 10)
        network.save(folder)
    with ak.launch(gates(optimizer, scheduler), engine=stepped(), resume=folder) as network:
        run_from = network.status().gates[0].version
        network.attach(described())
        list(network.watch())
        assert_same(network.model(), expected)
        assert 10 <= run_from < 24
        assert network.status().gates[0].version == 24


def test_there_are_optimizers_to_test() -> None:
    assert {"SGD", "Adam", "AdamW", "Adafactor", "Rprop", "ASGD", "NAdam", "RAdam", "RMSprop"} <= set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on(name: str, tmp_path: Path) -> None:
    assert_goes_on(tmp_path, getattr(optim, name))


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(optim.Adam, amsgrad=True, fused=True),
        partial(optim.AdamW, foreach=True, weight_decay=0.1),
        partial(optim.Adam, lr=torch.tensor(0.01)),
        partial(optim.RMSprop, centered=True, momentum=0.9),
        partial(optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
        lambda parameters: optim.SGD([{"params": parameters, "lr": 0.1, "tag": "all", "odd": None}], lr=0.2),
    ],
    ids=["fused", "foreach", "lr a tensor", "centered", "nesterov", "groups"],
)
def test_an_optimizer_with_settings_goes_on(optimizer: Any, tmp_path: Path) -> None:
    assert_goes_on(tmp_path, optimizer)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_goes_on(name: str, tmp_path: Path) -> None:
    assert_goes_on(tmp_path, partial(optim.SGD, lr=0.1, momentum=0.9), SCHEDULERS[name])
