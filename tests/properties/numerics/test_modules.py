"""Modules in gates do what the same modules do in an `nn.Sequential`, bit for bit."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim import SGD, Adam

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

# Shapes: B = batch, T = time, E = features.
B, T, E, CLASSES, WORDS = 6, 5, 8, 3, 11

Chain = list[nn.Module]

MOMENTUM = partial(SGD, lr=0.02, momentum=0.9, weight_decay=0.01)


class Pick(nn.Module):
    """Takes one branch out of a tree, and leaves the rest unused."""

    def __init__(self, key: Any) -> None:
        super().__init__()
        self.key = key

    def forward(self, tree: Any) -> Any:
        return tree[self.key]


class LastState(nn.Module):
    """Takes the last hidden state of what an LSTM yields: (output, (h, c)); output and c stay unused."""

    def forward(self, tree: tuple[Tensor, tuple[Tensor, Tensor]]) -> Tensor:
        _, (hidden, _) = tree
        return hidden[-1]


class Mixed(nn.Module):
    """Takes what an LSTM yields, and uses two of its three tensors."""

    def forward(self, tree: tuple[Tensor, tuple[Tensor, Tensor]]) -> Tensor:
        output, (_, cell) = tree
        mixed: Tensor = output.mean(1) * cell[-1]
        return mixed


class Masked(nn.Module):
    """Makes a dict of floats and an integer mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, E)

    def forward(self, words: Tensor) -> dict[str, Any]:
        return {"x": self.embed(words), "mask": (words % 3 > 0).long(), "scale": 0.5, "extra": None}


class MaskedMix(nn.Module):
    """Takes the dict and passes it on, with new floats."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(E, E)

    def forward(self, tree: dict[str, Any]) -> dict[str, Any]:
        assert tree["extra"] is None
        assert tree["mask"].dtype == torch.long
        mixed = self.linear(tree["x"]) * tree["mask"].unsqueeze(-1) * tree["scale"]
        return {"x": [mixed, tree["x"]], "mask": tree["mask"]}


class MaskedMean(nn.Module):
    def forward(self, tree: dict[str, Any]) -> Tensor:
        mixed = tree["x"][0] + tree["x"][1]
        mean: Tensor = mixed.sum(1) / tree["mask"].sum(1, keepdim=True).clamp(min=1)
        return mean


class TwoHeads(nn.Module):
    """Yields two outputs, of which the next gate uses one."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(E, CLASSES)
        self.unused = nn.Linear(E, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.used(x), self.unused(x)


class Sum(nn.Module):
    """Takes a batch of two inputs, floats and integers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, E)
        self.linear = nn.Linear(E, E)

    def forward(self, both: tuple[Tensor, Tensor]) -> Tensor:
        floats, words = both
        mixed: Tensor = self.linear(floats) + self.embed(words)
        return mixed


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder's weight; and one bias that two modules hold."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(E, E)
        self.decode = nn.Linear(E, E)
        self.decode.weight = self.encode.weight
        self.decode.bias = self.encode.bias

    def forward(self, x: Tensor) -> Tensor:
        decoded: Tensor = self.decode(torch.tanh(self.encode(x)))
        return decoded


class ScaledEmbedding(nn.Module):
    """An embedding with sparse gradients, scaled as in a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, E, sparse=True)

    def forward(self, words: Tensor) -> Tensor:
        scaled: Tensor = self.embed(words) * E**0.5
        return scaled


class Running(nn.Module):
    """Replaces its buffer instead of writing into it, and draws random numbers of its own."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(E))
        self.register_buffer("mean", torch.zeros(E))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * x.detach().mean(0)
            x = x + 0.1 * torch.randn_like(x)
        return (x - self.mean) * self.weight


def floats(*shape: int) -> Callable[[int], Tensor]:
    return lambda size: torch.randn(size, *shape)


def words(*shape: int) -> Callable[[int], Tensor]:
    return lambda size: torch.randint(WORDS, (size, *shape))


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(requires_grad=False)


def partly_frozen() -> Chain:
    stem = nn.Sequential(nn.Linear(E, E), nn.BatchNorm1d(E), nn.Linear(E, E))
    frozen(stem[0])
    return [stem, nn.Linear(E, CLASSES)]


def with_old(normalise: Callable[[nn.Module], nn.Module]) -> Chain:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return [normalise(nn.Linear(E, E)), nn.Tanh(), normalise(nn.Linear(E, CLASSES))]


@dataclass(frozen=True)
class Case:
    """A chain of modules, and what goes in."""

    chain: Callable[[], Chain]
    x: Callable[[int], Any] = field(default_factory=lambda: floats(E))
    optimizer: MakeOptimizer = MOMENTUM

    def batches(self) -> Batches:
        """Ten batches, the last one smaller."""
        torch.manual_seed(SEED)
        return [(self.x(size), torch.randint(CLASSES, (size,))) for size in [B] * 9 + [B - 2]]

    def modules(self) -> Chain:
        torch.manual_seed(SEED)
        return self.chain()


CASES = {
    "linear": Case(lambda: [nn.Linear(E, E), nn.Tanh(), nn.Linear(E, CLASSES)], optimizer=partial(Adam, lr=0.01)),
    "conv2d": Case(
        lambda: [
            nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
            nn.Sequential(nn.Flatten(), nn.Linear(4, CLASSES)),
        ],
        floats(2, 8, 8),
    ),
    "batch norm 1d": Case(lambda: [nn.Linear(E, E), nn.BatchNorm1d(E), nn.Linear(E, CLASSES)]),
    "batch norm 2d": Case(
        lambda: [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=None), nn.Sequential(nn.ReLU(), nn.Flatten())],
        floats(2, 5, 5),
    ),
    "layer norm": Case(lambda: [nn.Linear(E, E), nn.LayerNorm(E), nn.Linear(E, CLASSES)]),
    "dropout": Case(
        lambda: [
            nn.Dropout(0.2),
            nn.Sequential(nn.Linear(E, E), nn.Dropout(0.5)),
            nn.Linear(E, CLASSES),
            nn.Dropout(0.1),
        ]
    ),
    "embedding": Case(
        lambda: [nn.Embedding(WORDS, E, padding_idx=0), nn.Flatten(), nn.Linear(T * E, CLASSES)], words(T)
    ),
    "lstm, last state": Case(
        lambda: [nn.LSTM(E, E, num_layers=2, batch_first=True), LastState(), nn.Linear(E, CLASSES)], floats(T, E)
    ),
    "lstm, two of three outputs": Case(
        lambda: [nn.LSTM(E, E, batch_first=True, dropout=0.0, bidirectional=False), Mixed()], floats(T, E)
    ),
    "lstm, output": Case(
        lambda: [nn.LSTM(E, E, num_layers=2, dropout=0.3, batch_first=True), Pick(0), nn.GRU(E, E), Pick(0)],
        floats(T, E),
    ),
    "transformer": Case(
        lambda: [
            nn.TransformerEncoderLayer(E, 2, 16, dropout=0.1, batch_first=True),
            nn.TransformerEncoderLayer(E, 2, 16, dropout=0.1, batch_first=True, norm_first=True),
            nn.Sequential(nn.Flatten(), nn.Linear(T * E, CLASSES)),
        ],
        floats(T, E),
    ),
    "weight norm": Case(
        lambda: [parametrizations.weight_norm(nn.Linear(E, E)), parametrizations.weight_norm(nn.Linear(E, CLASSES))]
    ),
    "spectral norm": Case(
        lambda: [parametrizations.spectral_norm(nn.Linear(E, E)), parametrizations.spectral_norm(nn.Linear(E, CLASSES))]
    ),
    "old weight norm": Case(partial(with_old, nn.utils.weight_norm)),
    "old spectral norm": Case(partial(with_old, nn.utils.spectral_norm)),
    "in-place ReLU first": Case(
        lambda: [
            nn.Sequential(nn.ReLU(inplace=True), nn.Linear(E, E)),
            nn.Sequential(nn.ReLU(inplace=True), nn.Linear(E, E)),
            nn.ReLU(inplace=True),
            nn.Linear(E, CLASSES),
        ]
    ),
    "frozen in part": Case(partly_frozen),
    "frozen first": Case(lambda: [frozen(nn.Linear(E, E)), nn.Linear(E, E), nn.Linear(E, CLASSES)]),
    "frozen in the middle": Case(lambda: [nn.Linear(E, E), frozen(nn.Linear(E, E)), nn.Linear(E, CLASSES)]),
    "no parameters": Case(lambda: [nn.Identity(), nn.Linear(E, E), nn.Tanh(), nn.Linear(E, CLASSES), nn.Identity()]),
    "tied parameters": Case(lambda: [Tied(), nn.Linear(E, CLASSES)], optimizer=partial(Adam, lr=0.01)),
    "dict with a mask": Case(lambda: [Masked(), MaskedMix(), MaskedMean()], words(T)),
    "tuple with an unused output": Case(lambda: [nn.Linear(E, E), TwoHeads(), Pick(0)]),
    "two inputs": Case(
        lambda: [Sum(), nn.Linear(E, CLASSES)], lambda size: (torch.randn(size, E), torch.randint(WORDS, (size,)))
    ),
    "sparse gradients": Case(
        lambda: [ScaledEmbedding(), nn.Flatten(), nn.Linear(T * E, CLASSES)], words(T), partial(SGD, lr=0.1)
    ),
    "a buffer that is replaced": Case(lambda: [Running(), nn.Linear(E, E), Running()]),
    "double precision": Case(
        lambda: [nn.Linear(E, E).double(), nn.BatchNorm1d(E).double()], lambda size: torch.randn(size, E).double()
    ),
}


def as_gates(
    chain: Chain, optimizer: MakeOptimizer, activations: Literal["stashed", "recomputed"], n: int
) -> list[ak.Gate]:
    return [
        ak.Gate(
            f"gate {number}",
            module,
            optimizer if any(parameter.requires_grad for parameter in module.parameters()) else None,
            activations=activations,
            computations=n,
        )
        for number, module in enumerate(chain)
    ]


@pytest.mark.parametrize(
    ("gates", "activations", "computations"),
    [("one gate", "recomputed", 1), ("several gates", "stashed", 1), ("several gates", "recomputed", 2)],
)
@pytest.mark.parametrize("name", CASES)
def test_a_module_trains_and_evaluates_as_in_a_sequential(
    engine: Engine, name: str, gates: str, activations: Literal["stashed", "recomputed"], computations: int
) -> None:
    case = CASES[name]
    batches = case.batches()
    modules = case.modules()
    chain: Chain = [nn.Sequential(*modules)] if gates == "one gate" else modules
    torch.manual_seed(SEED)
    ours = train_as_network(as_gates(chain, case.optimizer, activations, computations), engine, batches)

    model = nn.Sequential(*case.modules())
    torch.manual_seed(SEED)
    losses = train_plainly(model, case.optimizer, batches, epochs=1)

    assert_same(ours.model, model)
    assert [report.loss for report in ours.reports] == pytest.approx(losses, rel=1e-12)
    expected = evaluate_plainly(model, batches)
    assert_same_tensors(ours.outputs, expected)
    assert_same_tensors(evaluate_plainly(ours.model, batches), expected)


@pytest.mark.parametrize("name", CASES)
def test_every_case_trains_something(name: str) -> None:
    case = CASES[name]
    model, before = nn.Sequential(*case.modules()), nn.Sequential(*case.modules())
    train_plainly(model, case.optimizer, case.batches(), epochs=1)
    changed = [not torch.equal(now, then) for now, then in zip(model.parameters(), before.parameters(), strict=True)]
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    assert any(changed)
    assert not any(now and not may for now, may in zip(changed, trainable, strict=True))


def test_the_tied_parameters_stay_tied(engine: Engine) -> None:
    case = CASES["tied parameters"]
    ours = train_as_network(as_gates(case.modules(), case.optimizer, "stashed", 2), engine, case.batches())
    tied = ours.model[0]
    assert isinstance(tied, Tied)
    assert tied.encode.weight is tied.decode.weight
    assert tied.encode.bias is tied.decode.bias


def test_frozen_parameters_are_left_alone(engine: Engine) -> None:
    case = CASES["frozen in the middle"]
    ours = train_as_network(as_gates(case.modules(), case.optimizer, "stashed", 1), engine, case.batches())
    assert_same(ours.model[1], case.modules()[1])
    assert [gate.version for gate in ours.gates] == [10, 0, 10]


def test_the_data_are_left_alone(engine: Engine) -> None:
    case = CASES["in-place ReLU first"]
    batches = case.batches()
    before = [(x.clone(), target.clone()) for x, target in batches]
    train_as_network(as_gates(case.modules(), case.optimizer, "recomputed", 2), engine, batches, in_flight=3)
    for (x, target), (x_before, target_before) in zip(batches, before, strict=True):
        assert torch.equal(x, x_before)
        assert torch.equal(target, target_before)


@pytest.mark.parametrize(
    "name",
    ["lstm, output", "transformer", "old spectral norm", "dict with a mask", "sparse gradients", "frozen in part"],
)
def test_a_module_trains_with_several_batches_in_flight(engine: Engine, name: str) -> None:
    case = CASES[name]
    ours = train_as_network(
        as_gates(case.modules(), case.optimizer, "recomputed", 2), engine, case.batches(), epochs=3, in_flight=4
    )
    trainable = [any(p.requires_grad for p in module.parameters()) for module in case.modules()]
    assert [gate.version for gate in ours.gates] == [30 if learns else 0 for learns in trainable]
    assert max(gate.staleness.max for gate in ours.gates) <= 3
    assert [report.samples for report in ours.reports] == [9 * B + B - 2] * 3
