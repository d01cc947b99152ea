"""What prepares batches ahead of demand."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from akkordeon.actor import Inbox, Ref
from akkordeon.engines import Stepped
from akkordeon.errors import NoAnswer
from akkordeon.sentinel.provider import Draw, DrawFailed, Drawn, Exhausted, Provider

Make = Callable[[], Iterable[object]]


class Bench:
    """A provider and the inbox that stands for its sentinel."""

    def __init__(self, data: Make, epochs: int | None = None, seed: int = 0) -> None:
        self.engine = Stepped()
        self.inbox: Inbox = self.engine.inbox("the sentinel")
        self.ref: Ref = self.engine.spawn("provider", partial(Provider, data, self.inbox.ref, epochs, seed))

    def draw(self, amount: int) -> list[object]:
        self.ref.tell(Draw(amount))
        return [self.inbox.take(timeout=1.0) for _ in range(amount)]

    def is_silent(self) -> bool:
        with pytest.raises(NoAnswer):
            self.inbox.take(timeout=1.0)
        return True


def numbers(end: int) -> Iterator[int]:
    yield from range(end)


def failing_after(amount: int) -> Iterator[int]:
    yield from range(amount)
    raise OSError("the disk is gone")


def orders(bench: Bench, epochs: int, batches: int) -> list[list[int]]:
    """The samples of each epoch, as they came."""
    found = []
    for _ in range(epochs):
        drawn = bench.draw(batches + 1)[:-1]
        found.append([int(number) for each in drawn if isinstance(each, Drawn) for number in each.item[0]])  # type: ignore[index]
    return found


def shuffled(samples: int = 12) -> DataLoader[tuple[torch.Tensor, ...]]:
    return DataLoader(TensorDataset(torch.arange(samples)), batch_size=4, shuffle=True)


def test_nothing_is_drawn_before_it_is_asked_for() -> None:
    drawn: list[int] = []

    def watched() -> Iterator[int]:
        for number in range(3):
            drawn.append(number)
            yield number

    bench = Bench(watched)
    assert bench.is_silent()
    bench.draw(1)
    assert drawn == [0]


def test_each_wish_is_answered_once_and_the_end_of_an_epoch_is_an_answer() -> None:
    bench = Bench(lambda: ["a", "b"])
    assert bench.draw(5) == [Drawn(1, "a"), Drawn(1, "b", 1), Exhausted(1, 2), Drawn(2, "a"), Drawn(2, "b", 1)]
    assert bench.is_silent()


def test_nothing_is_drawn_after_the_last_epoch() -> None:
    bench = Bench(lambda: ["a"], epochs=2)
    assert bench.draw(4) == [Drawn(1, "a"), Exhausted(1, 1), Drawn(2, "a"), Exhausted(2, 1)]
    bench.ref.tell(Draw(3))
    assert bench.is_silent()


def test_a_loader_that_can_be_iterated_again_is_made_once() -> None:
    made: list[int] = []

    def make() -> list[int]:
        made.append(1)
        return [1, 2]

    Bench(make).draw(9)
    assert len(made) == 1


def test_a_generator_is_made_anew_for_each_epoch() -> None:
    bench = Bench(partial(numbers, 2))
    assert bench.draw(6) == [
        *(Drawn(1, 0), Drawn(1, 1, 1), Exhausted(1, 2)),
        *(Drawn(2, 0), Drawn(2, 1, 1), Exhausted(2, 2)),
    ]


def test_an_iterator_that_is_used_up_yields_an_empty_second_epoch() -> None:
    once = numbers(2)
    bench = Bench(lambda: once)
    assert bench.draw(4) == [Drawn(1, 0), Drawn(1, 1, 1), Exhausted(1, 2), Exhausted(2, 0)]


def test_an_empty_loader_is_an_epoch_without_batches() -> None:
    assert Bench(list).draw(1) == [Exhausted(1, 0)]


def test_a_loader_may_yield_none() -> None:
    assert Bench(lambda: [None]).draw(2) == [Drawn(1, None), Exhausted(1, 1)]


def test_what_a_loader_raises_is_an_answer() -> None:
    *before, failed = Bench(partial(failing_after, 2)).draw(3)
    assert before == [Drawn(1, 0), Drawn(1, 1, 1)]
    assert isinstance(failed, DrawFailed)
    assert isinstance(failed.error, OSError)


def test_a_loader_that_cannot_be_made_is_an_answer() -> None:
    def make() -> list[int]:
        raise FileNotFoundError("train.csv")

    (failed,) = Bench(make).draw(1)
    assert isinstance(failed, DrawFailed)
    assert isinstance(failed.error, FileNotFoundError)


def test_what_is_no_iterable_is_an_answer() -> None:
    (failed,) = Bench(lambda: 3).draw(1)  # type: ignore[arg-type, return-value]
    assert isinstance(failed, DrawFailed)
    assert "'int' object is not iterable" in str(failed.error)


def test_a_provider_that_failed_still_answers() -> None:
    bench = Bench(partial(failing_after, 0))
    assert all(isinstance(answer, DrawFailed | Exhausted) for answer in bench.draw(3))


def test_shuffling_leaves_the_generator_of_the_process_alone() -> None:
    before = torch.get_rng_state()
    bench = Bench(shuffled)
    assert len(orders(bench, epochs=2, batches=3)) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_shuffling_through_a_sampler_leaves_the_generator_of_the_process_alone() -> None:
    samples = TensorDataset(torch.arange(12))
    before = torch.get_rng_state()
    bench = Bench(lambda: DataLoader(samples, batch_size=4, sampler=RandomSampler(samples, replacement=True)))
    assert len(orders(bench, epochs=2, batches=3)[0]) == 12
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "sampler",
    [
        RandomSampler(range(12)),
        SubsetRandomSampler(range(12)),
        WeightedRandomSampler([1.0] * 12, 12),
        BatchSampler(RandomSampler(range(12)), 4, drop_last=False),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_no_sampler_touches_the_generator_of_the_process(sampler: Sampler[Any]) -> None:
    samples = TensorDataset(torch.arange(12))
    batched = isinstance(sampler, BatchSampler)
    settings: dict[str, Any] = {"batch_sampler": sampler} if batched else {"sampler": sampler, "batch_size": 4}
    before = torch.get_rng_state()
    bench = Bench(lambda: DataLoader(samples, **settings))
    assert len(orders(bench, epochs=1, batches=3)[0]) == 12
    assert torch.equal(torch.get_rng_state(), before)


def test_shuffling_depends_on_the_seed_alone() -> None:
    first = orders(Bench(shuffled, seed=5), epochs=2, batches=3)
    torch.manual_seed(99)
    assert orders(Bench(shuffled, seed=5), epochs=2, batches=3) == first
    assert orders(Bench(shuffled, seed=6), epochs=2, batches=3) != first


def test_each_epoch_has_all_samples_in_another_order() -> None:
    first, second = orders(Bench(shuffled), epochs=2, batches=3)
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_a_generator_of_the_users_own_is_kept() -> None:
    def make() -> DataLoader[tuple[torch.Tensor, ...]]:
        own = torch.Generator().manual_seed(3)
        return DataLoader(TensorDataset(torch.arange(12)), batch_size=4, shuffle=True, generator=own)

    expected = [int(number) for (batch,) in make() for number in batch]
    assert orders(Bench(make, seed=77), epochs=1, batches=3) == [expected]


class Told:
    """Notes the epochs that it is told."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


class ToldData(Told, TensorDataset):
    def __init__(self) -> None:
        Told.__init__(self)
        TensorDataset.__init__(self, torch.arange(12))


class ToldStream(Told, IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        yield from range(12)


class ToldSampler(Told, Sampler[int]):
    def __iter__(self) -> Iterator[int]:
        yield from range(12)

    def __len__(self) -> int:
        return 12


class ToldBatches(Told, BatchSampler):
    def __init__(self, sampler: ToldSampler) -> None:
        Told.__init__(self)
        BatchSampler.__init__(self, sampler, 4, drop_last=False)


class ToldLoader(Told):
    def __iter__(self) -> Iterator[int]:
        yield from range(3)


def test_sampler_and_data_set_are_told_each_epoch_once_before_it_begins() -> None:
    data, sampler = ToldData(), ToldSampler()
    bench = Bench(lambda: DataLoader(data, 4, sampler=sampler))
    assert data.epochs == sampler.epochs == []
    bench.draw(1)
    assert data.epochs == sampler.epochs == [0]
    bench.draw(3)
    assert data.epochs == sampler.epochs == [0]
    bench.draw(5)
    assert data.epochs == sampler.epochs == [0, 1, 2]


def test_batch_sampler_and_the_sampler_within_are_told_each_epoch_once() -> None:
    data, sampler = ToldData(), ToldSampler()
    batches = ToldBatches(sampler)
    Bench(lambda: DataLoader(data, batch_sampler=batches)).draw(5)
    assert data.epochs == sampler.epochs == batches.epochs == [0, 1]


def test_a_stream_and_a_loader_of_the_users_own_are_told_each_epoch_once() -> None:
    stream, loader = ToldStream(), ToldLoader()
    Bench(lambda: DataLoader(stream, 4)).draw(5)
    Bench(lambda: loader).draw(5)
    assert stream.epochs == loader.epochs == [0, 1]


def test_a_data_set_that_is_its_own_sampler_is_told_once() -> None:
    class Both(ToldData, ToldSampler):
        def __init__(self) -> None:
            ToldData.__init__(self)

    both = Both()
    Bench(lambda: DataLoader(both, 4, sampler=both)).draw(1)
    assert both.epochs == [0]


def test_a_loader_that_is_made_anew_is_told_the_number_of_its_epoch() -> None:
    made: list[ToldLoader] = []

    class Once(ToldLoader):
        def __iter__(self) -> Iterator[int]:
            return self

        def __next__(self) -> int:
            raise StopIteration

    def make() -> Once:
        made.append(once := Once())
        return once

    Bench(make).draw(3)
    assert [each.epochs for each in made] == [[0], [1], [2]]
