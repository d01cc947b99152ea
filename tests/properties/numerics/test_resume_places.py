"""Where training goes on after a return: no batch is left out, none is trained twice, and what cannot go on says so."""

import logging
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, IterableDataset, Sampler, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import akkordeon as ak
from akkordeon import SentinelFailed
from akkordeon.saving import read
from tests.networks import pairs, stepped, training
from tests.saving.saves import done, engine_of, momentum, normed, run_until, train_and_save

SAMPLES = 36


class Counting(nn.Module):
    """Counts how often it was trained with each sample. Its counts are saved, so what a kill undoes is not counted."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 6)
        self.register_buffer("seen", torch.zeros(2 * SAMPLES, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += torch.bincount(x[:, 0].long(), minlength=2 * SAMPLES)
        y: Tensor = self.inner(x[:, 1:])
        return y


def gates() -> list[ak.Gate]:
    torch.manual_seed(1)
    return [
        ak.Gate("count", Counting(), momentum),
        ak.Gate("head", nn.Sequential(nn.Tanh(), nn.Linear(6, 3)), momentum),
    ]


def samples(first: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(first)
    x = torch.randn(SAMPLES, 4, generator=generator)
    x[:, 0] = torch.arange(first, first + SAMPLES)
    return TensorDataset(x, x[:, 1:].argmax(dim=1))


def shuffled(first: int, size: int) -> Iterable[Any]:
    return DataLoader(samples(first), batch_size=size, shuffle=True)


def joined(first: int, size: int, epochs: int) -> ak.TrainingSentinel:
    data = partial(shuffled, first, size)
    return ak.TrainingSentinel(f"from {first}", data, cross_entropy, in_flight=2 + first % 3, epochs=epochs)


@pytest.mark.parametrize("seed", range(6))
def test_each_sample_is_trained_once_per_epoch_however_often_training_is_killed(seed: int, tmp_path: Path) -> None:
    """Two sentinels with several batches in flight; some saves are followed by more training that is lost."""
    draw = random.Random(seed)
    epochs, both = 4, (joined(0, 4, 4), joined(SAMPLES, 5, 4))
    begin: dict[str, Any] = {}
    for _ in range(4):
        with ak.launch(gates(), engine=stepped(draw.randrange(1000)), **begin) as network:
            for sentinel in both:
                network.attach(sentinel)
            engine_of(network).run(seconds=draw.uniform(0, 0.6))
            network.save(tmp_path)
            engine_of(network).run(seconds=draw.uniform(0, 0.3))
        saved = read(tmp_path)
        assert len({gate.version for gate in saved.gates}) == 1  # all have learned from the same batches
        begin = {"resume": tmp_path}
    with ak.launch(gates(), engine=stepped(seed), **begin) as network:
        for sentinel in both:
            network.attach(sentinel)
        reports = list(network.watch())
        counts = network.model()[0].get_buffer("seen")
        assert {gate.version for gate in network.status().gates} == {epochs * (9 + 8)}
    assert counts.tolist() == [epochs] * (2 * SAMPLES)
    assert all(report.complete and report.samples == SAMPLES for report in reports)


@pytest.mark.parametrize("in_flight", [1, 5])
def test_a_resumed_training_goes_on_with_the_next_epoch_or_ends_at_once(in_flight: int, tmp_path: Path) -> None:
    described = partial(training, in_flight=in_flight)
    with ak.launch(normed(), engine=stepped()) as network:
        network.attach(described(epochs=2))
        assert len(list(network.watch())) == 2
        network.save(tmp_path)
    position = read(tmp_path).positions["train"]
    assert (position.epoch, position.index) == (3, 0)
    for epochs, expected in ((2, []), (1, []), (4, [3, 4])):
        with ak.launch(normed(), engine=stepped(), resume=tmp_path) as network:
            network.attach(described(epochs=epochs))
            assert [report.epoch for report in network.watch()] == expected
            assert network.status().gates[0].version == 8 + 4 * len(expected)
            network.save(tmp_path / str(epochs))
        assert read(tmp_path / str(epochs)).positions["train"].epoch == max(3, epochs + 1)


def test_a_position_waits_for_a_sentinel_of_its_name_and_is_saved_on(tmp_path: Path) -> None:
    train_and_save(tmp_path / "1", batches=6)
    with ak.launch(normed(), engine=stepped(), resume=tmp_path / "1") as network:
        network.attach(training("other", epochs=1))  # of which nothing is known
        assert [report.epoch for report in network.watch()] == [1]
        network.save(tmp_path / "2")
    positions = read(tmp_path / "2").positions
    assert positions["train"] == read(tmp_path / "1").positions["train"]
    assert (positions["other"].epoch, positions["other"].index) == (2, 0)


# Loaders that cannot tell their place


class Streaming(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(pairs())


class OwnOrder(Sampler[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(20))

    def __len__(self) -> int:
        return 20


class Custom:
    def __iter__(self) -> Iterator[Any]:
        return iter(pairs())


def generated() -> Iterator[Any]:
    yield from pairs()


def own_order() -> Iterable[Any]:
    x = torch.randn(20, 4)
    return DataLoader(TensorDataset(x, x[:, :3].argmax(dim=1)), batch_size=5, sampler=OwnOrder())


@pytest.mark.parametrize(
    "data",
    [generated, Custom, lambda: DataLoader(Streaming(), batch_size=None), own_order],
    ids=["generator", "iterable", "stream", "sampler"],
)
def test_a_loader_that_cannot_tell_its_place_begins_its_epoch_again_and_says_so(
    data: Callable[[], Iterable[Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    described = ak.TrainingSentinel("train", data, cross_entropy, epochs=3)
    with ak.launch(normed(), engine=stepped()) as network:
        network.attach(described)
        run_until(network, 6)
        network.save(tmp_path)
    position, version = read(tmp_path).positions["train"], read(tmp_path).gates[0].version
    assert position.epoch == 2
    assert position.index == version - 4 > 0
    with caplog.at_level(logging.WARNING), ak.launch(normed(), engine=stepped(), resume=tmp_path) as network:
        network.attach(described)
        reports = list(network.watch())
        assert network.status().gates[0].version == version + 8
    assert [(report.epoch, report.samples, report.complete) for report in reports] == [(2, 20, True), (3, 20, True)]
    told = f"cannot tell where it stood, so epoch 2, of which it had trained {position.index} batches, begins again"
    assert told in caplog.text


def test_between_two_epochs_no_loader_has_to_tell_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for epochs in (1, 2):
        begin: dict[str, Any] = {"resume": tmp_path} if epochs == 2 else {}
        with ak.launch(normed(), engine=stepped(), **begin) as network:
            network.attach(ak.TrainingSentinel("train", generated, cross_entropy, epochs=epochs))
            assert [report.epoch for report in network.watch()] == [epochs]
            network.save(tmp_path)
    assert not caplog.records


# Data that changed


def shown(batches: int) -> Callable[[], list[Any]]:
    return lambda: pairs([5] * batches)


def saved_in_the_middle(folder: Path, data: Callable[[], Iterable[Any]], batches: int) -> None:
    with ak.launch(normed(), engine=stepped()) as network:
        network.attach(ak.TrainingSentinel("train", data, cross_entropy))
        run_until(network, batches)
        network.save(folder)


def test_data_that_became_shorter_is_an_error_that_says_so(tmp_path: Path) -> None:
    saved_in_the_middle(tmp_path, shown(20), 12)
    with ak.launch(normed(), engine=stepped(), resume=tmp_path) as network:
        version = network.status().gates[0].version
        network.attach(ak.TrainingSentinel("train", shown(8), cross_entropy))
        with pytest.raises(
            SentinelFailed,
            match=r"the loader yields 8 batches in an epoch, and yielded 20 when it was saved",
        ):
            list(network.watch())
        assert network.status().gates[0].version == version


class Telling:
    """A loader that knows its own state."""

    def __init__(self, amount: int = 20) -> None:
        self.index, self.amount = 0, amount

    def __iter__(self) -> Iterator[Any]:
        batches = pairs([5] * self.amount)
        while self.index < self.amount:
            self.index += 1
            yield batches[self.index - 1]
        self.index = 0

    def state_dict(self) -> dict[str, int]:
        return {"index": self.index}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if state["index"] > self.amount:
            raise IndexError(f"there are {self.amount} batches, and {state['index']} have been read")
        self.index = state["index"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Telling, shown(20)),
        (shown(20), Telling),
        (shown(20), partial(shuffled, 0, 5)),
        (partial(shuffled, 0, 4), generated),
    ],
)
def test_a_loader_of_another_kind_is_an_error_that_says_so(before: Any, after: Any, tmp_path: Path) -> None:
    saved_in_the_middle(tmp_path, before, 5)
    with ak.launch(normed(), engine=stepped(), resume=tmp_path) as network:
        network.attach(ak.TrainingSentinel("train", after, cross_entropy))
        with pytest.raises(
            SentinelFailed, match=r"loader is of another kind than the one that was saved.*or start afresh"
        ):
            list(network.watch())


def test_a_loader_that_tells_its_own_state_is_asked_now_and_then(tmp_path: Path) -> None:
    """Every hundred batches; from there, those that were trained are skipped."""
    described = ak.TrainingSentinel("train", partial(Telling, 230), cross_entropy, epochs=1)
    with ak.launch(normed(), engine=stepped()) as network:
        network.attach(described)
        run_until(network, 215)
        network.save(tmp_path)
    position = read(tmp_path).positions["train"]
    assert (position.mark.index, position.mark.state[1]) == (200, {"index": 200})
    with ak.launch(normed(), engine=stepped(), resume=tmp_path) as network:
        network.attach(described)
        (report,) = network.watch()
        assert network.status().gates[0].version == 230
    assert report.samples == 5 * 230


def test_what_a_loader_raises_when_it_gets_its_state_is_told(tmp_path: Path) -> None:
    saved_in_the_middle(tmp_path, partial(Telling, 230), 150)
    with ak.launch(normed(), engine=stepped(), resume=tmp_path) as network:
        network.attach(ak.TrainingSentinel("train", partial(Telling, 30), cross_entropy))
        with pytest.raises(SentinelFailed, match="IndexError: there are 30 batches, and 100 have been read"):
            list(network.watch())
        assert done(network) == 0


# Epochs that a loader is told


class Epochs(TensorDataset):
    """Notes the epochs that it is told; they outlive the network."""

    told: list[int]

    def __init__(self, told: list[int]) -> None:
        super().__init__(torch.arange(20))
        self.told = told

    def set_epoch(self, epoch: int) -> None:
        self.told.append(epoch)


def distributed(told: list[int], orders: list[int]) -> DataLoader[Any]:
    def collate(samples: list[tuple[Tensor]]) -> tuple[Tensor, Tensor]:
        numbers = torch.stack([number for (number,) in samples])
        orders.extend(numbers.tolist())
        return torch.nn.functional.one_hot(numbers % 4, 4).float(), numbers % 3

    data = Epochs(told)
    sampler: Sampler[int] = DistributedSampler(data, num_replicas=1, rank=0, shuffle=True)
    return DataLoader(data, 5, sampler=sampler, collate_fn=collate)


def test_the_epoch_that_is_resumed_is_told_once_more_and_has_the_same_order(tmp_path: Path) -> None:
    told: list[int] = []
    whole: list[int] = []
    with ak.launch(normed(), engine=stepped()) as network:
        network.attach(ak.TrainingSentinel("train", lambda: distributed(told, whole), cross_entropy, epochs=3))
        list(network.watch())
        expected = network.state_dict()
    assert told == [0, 1, 2]
    with ak.launch(normed(), engine=stepped()) as network:
        network.attach(ak.TrainingSentinel("train", lambda: distributed(told, []), cross_entropy, epochs=3))
        run_until(network, 6)
        network.save(tmp_path)
    position = read(tmp_path).positions["train"]
    assert position.mark.exact
    assert (position.epoch, 2 <= position.index < 4) == (2, True)
    del told[:]
    again: list[int] = []
    with ak.launch(normed(), engine=stepped(), resume=tmp_path) as network:
        network.attach(ak.TrainingSentinel("train", lambda: distributed(told, again), cross_entropy, epochs=3))
        assert [(report.epoch, report.samples) for report in network.watch()] == [(2, 20), (3, 20)]
        state = network.state_dict()
    assert told == [1, 2]
    assert again == whole[20:]  # it skips what it has trained, in the same order
    assert all(torch.equal(state[name], expected[name]) for name in expected)
