"""On Ray, too, training with one batch in flight is that of a plain loop, bit for bit; also after a save and a resume.

Each gate draws its random numbers in a process of its own, so these modules draw none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

import akkordeon as ak
from tests.properties.numerics.loops import (
    SEED,
    Batches,
    MakeOptimizer,
    assert_same,
    assert_same_tensors,
    cross_entropy,
    evaluate_plainly,
    train_plainly,
)
from tests.system.distributed.chain import LEASE
from tests.system.distributed.conftest import MakeEngine

pytestmark = pytest.mark.timeout(120)

PATIENT = ak.Supervision(lease=LEASE)

WORDS, CLASSES = 20, 5
EPOCHS, MORE = 12, 6  # of ten batches


def batches() -> Batches:
    generator = torch.Generator().manual_seed(1)
    words = [torch.randint(WORDS, (size, 4), generator=generator) for size in [16] * 9 + [5]]
    return [(each, each[:, 0] % CLASSES) for each in words]


def modules() -> list[nn.Sequential]:
    torch.manual_seed(SEED)
    return [
        nn.Sequential(nn.Embedding(WORDS, 8), nn.Flatten(), nn.Linear(32, 16), nn.BatchNorm1d(16)),
        nn.Sequential(nn.ReLU(inplace=True), nn.Linear(16, CLASSES)),
    ]


OPTIMIZERS: tuple[MakeOptimizer, MakeOptimizer] = (partial(SGD, lr=0.05, momentum=0.9), partial(Adam, lr=0.01))


def gates() -> list[ak.Gate]:
    parts = zip(("stem", "head"), modules(), OPTIMIZERS, strict=True)
    return [ak.Gate(name, module, optimizer) for name, module, optimizer in parts]


class Both(torch.optim.Optimizer):
    """The optimizers of both gates, as a plain loop has them."""

    def __init__(self, stem: list[nn.Parameter], head: list[nn.Parameter]) -> None:
        super().__init__([*stem, *head], {})
        self._all = [make(each) for make, each in zip(OPTIMIZERS, (stem, head), strict=True)]

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for each in self._all:
            each.step()


@cache
def plain(epochs: int) -> tuple[nn.Sequential, list[float]]:
    stem, head = modules()
    model = nn.Sequential(stem, head)
    optimizer = Both(list(stem.parameters()), list(head.parameters()))
    return model, train_plainly(model, lambda _: optimizer, batches(), epochs=epochs)


@dataclass
class Trained:
    reports: list[ak.Report]
    status: ak.Status
    weights: dict[str, Tensor]
    model: nn.Sequential
    outputs: list[Tensor]
    saved: Path


def training(epochs: int) -> ak.TrainingSentinel:
    return ak.TrainingSentinel("train", batches, cross_entropy, in_flight=1, epochs=epochs)


@pytest.fixture(scope="module")
def trained(make_engine: MakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    with ak.launch(gates(), engine=make_engine(0, first=4), supervision=PATIENT) as network:
        network.attach(training(EPOCHS))
        reports = list(network.watch())
        saved = network.save(tmp_path_factory.mktemp("saved"))
        network.attach(ak.TestSentinel("test", batches, cross_entropy))
        (test,) = network.watch()
        yield Trained(
            reports, network.status(), network.state_dict(), network.model(), list(test.outputs), saved.parent
        )


def test_weights_are_those_of_a_plain_loop(trained: Trained) -> None:
    model, _ = plain(EPOCHS)
    assert [gate.version for gate in trained.status.gates] == [10 * EPOCHS] * 2
    assert [(gate.staleness.max, gate.open, gate.skipped) for gate in trained.status.gates] == [(0, 0, {})] * 2
    assert_same(trained.model, model)


def test_losses_are_those_of_a_plain_loop(trained: Trained) -> None:
    _, losses = plain(EPOCHS)
    assert [report.loss for report in trained.reports] == pytest.approx(losses, rel=1e-12)
    assert [report.samples for report in trained.reports] == [149] * EPOCHS
    assert not any(report.skipped for report in trained.reports)
    assert losses[-1] < losses[0]


def test_outputs_are_those_of_a_plain_loop(trained: Trained) -> None:
    model, _ = plain(EPOCHS)
    assert_same_tensors(trained.outputs, evaluate_plainly(model, batches()))


def test_the_state_dict_is_that_of_a_plain_loop(trained: Trained) -> None:
    model, _ = plain(EPOCHS)
    state = model.state_dict()
    names = [name.replace("0.", "stem.", 1) if name[0] == "0" else name.replace("1.", "head.", 1) for name in state]
    assert list(trained.weights) == names
    assert_same_tensors(list(trained.weights.values()), list(state.values()))


def test_a_resumed_network_goes_on_as_if_never_interrupted(trained: Trained, make_engine: MakeEngine) -> None:
    with ak.launch(gates(), engine=make_engine(0, first=4), supervision=PATIENT, resume=trained.saved) as network:
        network.attach(training(EPOCHS + MORE))
        reports = list(network.watch())
        model = network.model()
    expected, losses = plain(EPOCHS + MORE)
    assert [report.epoch for report in reports] == list(range(EPOCHS + 1, EPOCHS + MORE + 1))
    assert [report.loss for report in reports] == pytest.approx(losses[EPOCHS:], rel=1e-12)
    assert_same(model, expected)
