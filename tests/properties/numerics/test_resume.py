"""A network that was saved and resumed trains as one that was never interrupted: bit for bit, one batch in flight."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR, MultiStepLR, OneCycleLR
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.sentinel.metrics import Metrics, Perplexity
from tests.network.patience import wait_until

SAMPLES, BATCH = 200, 10  # 20 batches in an epoch
EPOCHS = 15  # 300 batches
HALF = 150


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(SAMPLES, 8, generator=generator)
    return TensorDataset(x, x[:, :4].argmax(dim=1))


def shuffled() -> Iterable[Any]:
    return DataLoader(data(), batch_size=BATCH, shuffle=True)


def weighted() -> Iterable[Any]:
    sampler = WeightedRandomSampler([1.0 + n % 3 for n in range(SAMPLES)], SAMPLES, generator=torch.Generator())
    return DataLoader(data(), batch_size=BATCH, sampler=sampler, drop_last=True)


def listed() -> Iterable[Any]:
    everything = data()
    return [everything[start : start + BATCH] for start in range(0, SAMPLES, BATCH)]


class Stateful:
    """A loader that knows its own state, as torchdata's does."""

    def __init__(self) -> None:
        self._epoch = self._index = 0

    def __iter__(self) -> "Stateful":
        self._epoch += self._index == 0
        return self

    def __next__(self) -> Any:
        if self._index == SAMPLES // BATCH:
            self._index = 0
            raise StopIteration
        rows = torch.arange(BATCH) * 7 + self._index * BATCH * 3 + self._epoch
        self._index += 1
        return data()[rows % SAMPLES]

    def state_dict(self) -> dict[str, Any]:
        return {"place": (self._epoch, self._index)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._epoch, self._index = state["place"]


def gates(optimizer: Any, scheduler: Any = None, **settings: Any) -> list[ak.Gate]:
    torch.manual_seed(3)
    compensation = ak.DelayCompensation()
    modules = {
        "stem": nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU()),
        "body": nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 8), nn.Tanh()),
        "head": nn.Linear(8, 4),
    }
    return [ak.Gate(name, each, optimizer, compensation, scheduler, **settings) for name, each in modules.items()]


def sentinel(loader: Callable[[], Iterable[Any]]) -> ak.TrainingSentinel:
    metrics: Metrics = {"accuracy": ak.accuracy, "perplexity": Perplexity()}
    return ak.TrainingSentinel("train", loader, cross_entropy, metrics, epochs=EPOCHS, seed=11)


def figures(network: ak.Network) -> dict[int, Any]:
    return {report.epoch: (report.loss, report.metrics, report.samples, report.staleness) for report in network.watch()}


def wait_for(network: ak.Network, batches: int) -> None:
    wait_until(network, lambda: network.status().sentinels[0].done >= batches)


OPTIMIZERS: dict[str, Any] = {
    "momentum, milestones": (partial(SGD, lr=0.05, momentum=0.9), partial(MultiStepLR, milestones=[100, 200])),
    "adamw, one cycle": (
        partial(AdamW, lr=0.01),
        partial(OneCycleLR, max_lr=0.02, total_steps=EPOCHS * SAMPLES // BATCH + 1),
    ),
    "adamw amsgrad, lambda": (
        partial(AdamW, lr=0.01, amsgrad=True),
        partial(LambdaLR, lr_lambda=lambda step: 1 / (1 + step / 50)),
    ),
}


Trained = tuple[nn.Sequential, dict[int, Any]]


def in_one_go(make: Callable[[], list[ak.Gate]], loader: Any, engine: Engine) -> Trained:
    with ak.launch(make(), engine=engine) as network:
        network.attach(sentinel(loader))
        epochs = figures(network)
        return network.model(), epochs


def interrupted(make: Callable[[], list[ak.Gate]], loader: Any, engines: list[Engine], folder: Path) -> Trained:
    """Save in the middle of training, drop the network, and go on with another."""
    with ak.launch(make(), engine=engines[0]) as network:
        network.attach(sentinel(loader))
        wait_for(network, HALF)
        network.save(folder)
    torch.manual_seed(999)  # what other processes draw is another's business
    with ak.launch(make(), engine=engines[1], resume=folder) as network:
        network.attach(sentinel(loader))
        epochs = figures(network)
        return network.model(), epochs


def assert_equal(one: Trained, other: Trained) -> None:
    assert other[1]  # the second half did report
    assert min(other[1]) > 1  # and was one
    for epoch, expected in other[1].items():
        assert one[1][epoch] == expected
    before, after = one[0].state_dict(), other[0].state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=list(OPTIMIZERS))
def test_a_resumed_network_equals_one_that_was_not_interrupted(
    settings: str, make_engine: Callable[[], Engine], tmp_path: Path
) -> None:
    make = partial(gates, *OPTIMIZERS[settings])
    one = in_one_go(make, shuffled, make_engine())
    assert_equal(one, interrupted(make, shuffled, [make_engine(), make_engine()], tmp_path))


@pytest.mark.parametrize("loader", [weighted, listed, Stateful])
def test_each_kind_of_loader_that_can_tell_its_place_goes_on_exactly(
    loader: Any, make_engine: Callable[[], Engine], tmp_path: Path
) -> None:
    make = partial(gates, partial(SGD, lr=0.05, momentum=0.9))
    one = in_one_go(make, loader, make_engine())
    assert_equal(one, interrupted(make, loader, [make_engine(), make_engine()], tmp_path))


@pytest.mark.parametrize(
    "settings", [{"accumulate": 4}, {"max_norm": 0.1}, {"computations": 2}, {"autocast": torch.bfloat16}], ids=str
)
def test_settings_of_gates_survive(settings: Any, make_engine: Callable[[], Engine], tmp_path: Path) -> None:
    make = partial(gates, partial(SGD, lr=0.05, momentum=0.9), **settings)
    one = in_one_go(make, shuffled, make_engine())
    assert_equal(one, interrupted(make, shuffled, [make_engine(), make_engine()], tmp_path))
