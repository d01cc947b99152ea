"""With one batch in flight and one sentinel, training is bit for bit that of a plain PyTorch loop."""

from collections.abc import Callable
from functools import cache, partial
from typing import Literal

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import StepLR

import akkordeon as ak
from akkordeon.actor import Engine
from tests.properties.numerics.loops import (
    SEED,
    Batches,
    MakeOptimizer,
    assert_same,
    assert_same_tensors,
    evaluate_plainly,
    train_as_network,
    train_plainly,
)

WORDS, CLASSES = 20, 5
EPOCHS = 20  # of ten batches

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "sgd": partial(SGD, lr=0.1),
    "momentum": partial(SGD, lr=0.05, momentum=0.9),
    "adam": partial(Adam, lr=0.01),
    "adamw": partial(AdamW, lr=0.01, weight_decay=0.1),
}


@cache
def data() -> Batches:
    generator = torch.Generator().manual_seed(1)
    sizes = [16] * 9 + [5]
    return [
        (
            torch.randint(WORDS, (size, 4), generator=generator),
            torch.randint(CLASSES, (size,), generator=generator),
        )
        for size in sizes
    ]


def modules() -> list[nn.Module]:
    torch.manual_seed(SEED)
    return [
        nn.Sequential(nn.Embedding(WORDS, 8), nn.Flatten(), nn.Linear(32, 16), nn.BatchNorm1d(16), nn.Dropout(0.3)),
        nn.Sequential(nn.ReLU(inplace=True), nn.Linear(16, CLASSES)),
    ]


@cache
def plain(optimizer: str) -> tuple[nn.Sequential, list[float]]:
    model = nn.Sequential(*modules())
    torch.manual_seed(SEED)
    losses = train_plainly(model, OPTIMIZERS[optimizer], data(), epochs=EPOCHS)
    return model, losses


@pytest.mark.parametrize("computations", [1, 2])
@pytest.mark.parametrize("activations", ["stashed", "recomputed"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_hundred_batches_give_the_weights_and_losses_of_a_plain_loop(
    engine: Engine, optimizer: str, activations: Literal["stashed", "recomputed"], computations: int
) -> None:
    gates = [
        ak.Gate(name, module, OPTIMIZERS[optimizer], computations=computations, activations=activations)
        for name, module in zip(("stem", "head"), modules(), strict=True)
    ]
    torch.manual_seed(SEED)
    ours = train_as_network(gates, engine, data(), epochs=EPOCHS)
    model, losses = plain(optimizer)

    assert [gate.version for gate in ours.gates] == [200, 200]
    assert [gate.staleness.max for gate in ours.gates] == [0, 0]
    assert_same(ours.model, model)
    assert_same_tensors(ours.outputs, evaluate_plainly(model, data()))
    assert [report.loss for report in ours.reports] == pytest.approx(losses, rel=1e-12)
    assert [report.samples for report in ours.reports] == [149] * EPOCHS


def test_the_plain_loop_of_these_tests_learns() -> None:
    _, losses = plain("adam")
    assert losses[-1] < losses[0]


def test_a_scheduler_steps_once_per_update(engine: Engine) -> None:
    def decaying(lr: float) -> Callable[[torch.optim.Optimizer], StepLR]:
        return lambda optimizer: StepLR(optimizer, step_size=7, gamma=lr)

    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
    batches = [(torch.randn(5, 6), torch.randint(3, (5,))) for _ in range(25)]
    gates = [
        ak.Gate("stem", model[:2], partial(SGD, lr=0.5), scheduler=decaying(0.5)),
        ak.Gate("head", model[2:], partial(SGD, lr=0.5), scheduler=decaying(0.5)),
    ]
    ours = train_as_network(gates, engine, batches)

    optimizer = SGD(model.parameters(), lr=0.5)
    scheduler = decaying(0.5)(optimizer)
    for x, target in batches:
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(x), target))
        optimizer.step()
        scheduler.step()
    assert_same(ours.model, model)


def test_the_modules_given_are_not_changed(engine: Engine) -> None:
    given = modules()
    gates = [ak.Gate(f"gate {n}", module, partial(SGD, lr=0.1), computations=2) for n, module in enumerate(given)]
    trained = train_as_network(gates, engine, data())
    assert_same(nn.Sequential(*given), nn.Sequential(*modules()))
    assert all(module.training for module in given)
    assert all(parameter.grad is None for module in given for parameter in module.parameters())
    assert not torch.equal(next(trained.model.parameters()), next(given[0].parameters()))
