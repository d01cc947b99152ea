"""A model that was cut trains as the whole does: bit for bit, with one batch in flight."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW

import akkordeon as ak
from akkordeon.actor import Engine
from tests.models import Masked, ResNet, Scaled
from tests.properties.numerics.loops import (
    SEED,
    Batches,
    MakeOptimizer,
    assert_same_tensors,
    train_as_network,
    train_plainly,
)

EPOCHS = 4  # of seven batches

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "momentum": partial(SGD, lr=0.05, momentum=0.9),
    "adamw": partial(AdamW, lr=0.01, weight_decay=0.1),
}


def sequential() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 16),
        nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Dropout(0.2)),
        nn.Linear(16, 3),
    )


def pictures() -> Batches:
    generator = torch.Generator().manual_seed(1)
    sizes = [8] * 6 + [5]
    return [
        (torch.randn(size, 1, 8, 8, generator=generator), torch.randint(3, (size,), generator=generator))
        for size in sizes
    ]


def tokens() -> Batches:
    """Padded with zeros, to lengths that differ from batch to batch."""
    generator = torch.Generator().manual_seed(2)
    return [
        (
            torch.randint(1, 20, (6, length), generator=generator)
            * (torch.arange(length) < torch.randint(2, length + 1, (6, 1), generator=generator)),
            torch.randint(5, (6,), generator=generator),
        )
        for length in (6, 6, 9, 4, 16, 7, 6)
    ]


def weighted_tokens() -> Batches:
    return [({"tokens": x, "weights": 1 / (1.0 + x)}, target) for x, target in tokens()]


def cross_entropy(output: Tensor | Mapping[str, Tensor], target: Tensor) -> Tensor:
    """Of the output, or its logits; the rest counts as well, so that its gradient comes back, too."""
    if isinstance(output, Tensor):
        return nn.functional.cross_entropy(output, target)
    return nn.functional.cross_entropy(output["logits"], target) + output["pooled"].square().mean()


CASES: dict[str, tuple[Callable[[], nn.Module], list[str], Callable[[], Batches]]] = {
    "sequential": (sequential, ["2.1"], pictures),
    "resnet": (ResNet, ["layer1.1", "layer2.0", "fc"], pictures),
    "scaled": (Scaled, ["two", "three"], pictures),
    "masked": (Masked, ["blocks.1", "blocks.2", "head"], tokens),
    "keywords": (Masked, ["blocks.1", "blocks.2"], weighted_tokens),
}


class Keywords(nn.Module):
    """Calls a model with the input of a batch, as a loop would."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        return self.model(**x) if isinstance(x, dict) else self.model(x)


def made(case: str, **settings: Any) -> tuple[nn.Module, list[ak.Gate], Batches]:
    make, at, data = CASES[case]
    torch.manual_seed(SEED)
    model = make()
    batches = data()
    return model, ak.split(model, at, sample=batches[0][0], **settings), batches


def state_of(gates: list[ak.Gate], trained: nn.Sequential) -> dict[str, Tensor]:
    return {
        gate.whole_prefix + name: tensor
        for gate, piece in zip(gates, trained, strict=True)
        for name, tensor in piece.state_dict().items()
    }


@pytest.mark.parametrize(("optimizer", "computations"), [("momentum", 1), ("adamw", 2)])
@pytest.mark.parametrize("case", CASES)
def test_one_batch_in_flight_gives_the_weights_and_losses_of_the_whole(
    engine: Engine, case: str, optimizer: str, computations: int
) -> None:
    model, gates, batches = made(case, optimizer=OPTIMIZERS[optimizer], computations=computations)
    torch.manual_seed(SEED)
    ours = train_as_network(gates, engine, batches, epochs=EPOCHS, loss=cross_entropy)
    torch.manual_seed(SEED)
    losses = train_plainly(Keywords(model), OPTIMIZERS[optimizer], batches, epochs=EPOCHS, loss=cross_entropy)

    assert {gate.version for gate in ours.gates} == {EPOCHS * len(batches)}
    state = state_of(gates, ours.model)
    expected = model.state_dict()
    assert state.keys() == expected.keys()
    assert_same_tensors([state[name] for name in expected], list(expected.values()))
    assert [report.loss for report in ours.reports] == pytest.approx(losses, rel=1e-12)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("activations", ["stashed", "recomputed"])
@pytest.mark.parametrize("case", CASES)
def test_with_many_batches_in_flight_it_learns(engine: Engine, case: str, activations: str) -> None:
    _, gates, batches = made(case, optimizer=partial(SGD, lr=0.02), activations=activations)
    ours = train_as_network(gates, engine, batches, epochs=8, in_flight=4, loss=cross_entropy)
    assert max(gate.staleness.max for gate in ours.gates) > 0
    assert ours.reports[-1].loss < ours.reports[0].loss


def test_so_many_gates_train_as_the_whole_does(engine: Engine) -> None:
    torch.manual_seed(SEED)
    model = ResNet()
    batches = pictures()
    gates = ak.split(model, gates=4, sample=batches[0][0], optimizer=OPTIMIZERS["momentum"])
    assert len(gates) == 4
    torch.manual_seed(SEED)
    ours = train_as_network(gates, engine, batches, epochs=EPOCHS, loss=cross_entropy)
    torch.manual_seed(SEED)
    train_plainly(model, OPTIMIZERS["momentum"], batches, epochs=EPOCHS, loss=cross_entropy)
    state = state_of(gates, ours.model)
    assert_same_tensors([state[name] for name in model.state_dict()], list(model.state_dict().values()))
