"""The batches that are ready or requested, and where in the data the next one is."""

from typing import Any, cast

import pytest

from akkordeon.actor import Context, Ref
from akkordeon.messages.states import Mark, Position
from akkordeon.sentinel.description import TestSentinel, TrainingSentinel
from akkordeon.sentinel.epochs import Epochs
from akkordeon.sentinel.prefetch import Prefetch
from akkordeon.sentinel.provider import Draw, DrawFailed, Drawn, Exhausted

SENTINEL = TestSentinel("s", list, seed=0)


class Provider(Ref):
    """Counts what it is asked for, and draws nothing."""

    name = "provider s 1"

    def __init__(self) -> None:
        self.requested = 0

    def tell(self, message: object) -> None:
        assert isinstance(message, Draw)
        self.requested += message.amount

    def ask(self, message: object, *, timeout: float) -> Any:
        raise NotImplementedError


class Here:
    """Where the sentinel lives."""

    me = Provider()

    def spawn(self, *_: object, **__: object) -> Ref:
        self.provider = Provider()
        return self.provider

    def watch(self, ref: Ref, watcher: Ref) -> None:
        pass


class Bench:
    """Batches ahead of a sentinel with room for some, and its provider.

    Args:
        room: how many batches may be ready or requested.
    """

    def __init__(self, room: int) -> None:
        context = Here()
        self.prefetch = Prefetch(SENTINEL, 1, None)
        self.prefetch.widen(room // 2)
        self.prefetch.begin(cast(Context, context))
        self._provider = context.provider

    def requests(self, now: float = 0.0) -> int:
        before = self._provider.requested
        self.prefetch.request(now)
        return self._provider.requested - before

    def answers(self, amount: int, now: float = 0.0) -> None:
        for number in range(amount):
            self.prefetch.answered(Drawn(1, number), now)

    def sends(self, amount: int) -> None:
        for _ in range(amount):
            self.prefetch.ready.popleft()


def test_it_requests_all_that_there_is_room_for() -> None:
    bench = Bench(8)
    assert bench.requests() == 8
    assert bench.requests() == 0


def test_nothing_is_requested_before_the_provider_is_there() -> None:
    prefetch = Prefetch(SENTINEL, 1, None)
    prefetch.request(0.0)
    assert not prefetch.is_waiting


@pytest.mark.parametrize(("sent", "requested"), [(0, 0), (3, 0), (4, 4), (5, 5), (8, 8)])
def test_it_requests_again_when_half_of_the_room_is_free(sent: int, requested: int) -> None:
    bench = Bench(8)
    bench.answers(bench.requests())
    bench.sends(sent)
    assert bench.requests() == requested


def test_what_has_been_requested_takes_up_room() -> None:
    bench = Bench(8)
    bench.requests()
    bench.answers(5)
    bench.sends(4)
    assert bench.requests() == 4  # one is ready, three are to come
    assert bench.requests() == 0


def test_it_waits_while_it_is_empty_and_something_is_to_come() -> None:
    bench = Bench(4)
    assert not bench.prefetch.is_waiting
    bench.requests(3.0)
    assert bench.prefetch.is_waiting
    assert bench.prefetch.waited(10.0) == 7.0
    bench.answers(1, now=4.5)
    assert not bench.prefetch.is_waiting
    bench.sends(1)
    assert bench.prefetch.is_waiting
    assert bench.prefetch.waited(10.0) == 5.5


def test_the_end_of_an_epoch_and_an_error_are_answers_that_take_no_room() -> None:
    bench = Bench(4)
    bench.requests()
    bench.answers(1)
    bench.prefetch.answered(Exhausted(1, 1), 0.0)
    bench.prefetch.answered(Exhausted(1, 1), 0.0)
    bench.prefetch.answered(DrawFailed(OSError("the disk is gone")), 0.0)
    assert bench.requests() == 3


def test_its_position_is_that_of_the_first_batch_that_is_ready_with_the_last_mark_before_it() -> None:
    prefetch, epochs = Prefetch(SENTINEL, 1, None), Epochs(SENTINEL)
    marks = {index: Mark(1, index, [index], exact=True, length=4) for index in (0, 2)}
    assert prefetch.position(epochs, 0.0) is None
    for index in range(4):
        prefetch.answered(Drawn(1, index, index, marks.get(index)), 0.0)
    found = []
    for _ in range(5):
        position = prefetch.position(epochs, 0.0)
        assert position is not None
        found.append((position.epoch, position.index, position.mark.index))
        if prefetch.ready:
            prefetch.ready.popleft()
    assert found == [(1, 0, 0), (1, 1, 0), (1, 2, 2), (1, 3, 2), (1, 4, 2)]
    assert prefetch.length == 4
    prefetch.answered(Exhausted(1, 4, Mark(2, 0, [4], exact=True, length=4)), 0.0)
    assert prefetch.position(epochs, 0.0) == Position(2, 0, Mark(2, 0, [4], exact=True, length=4), None)


def test_a_sentinel_that_had_reached_its_last_epoch_is_at_its_end() -> None:
    def resumes(epoch: int) -> bool:
        sentinel = TrainingSentinel("s", list, lambda output, target: output, epochs=2)
        position = Position(epoch, 0, Mark(epoch, 0, [], exact=True, length=1), None)
        return Prefetch(sentinel, 1, position).resume(Epochs(sentinel), 0.0)

    assert (resumes(2), resumes(3)) == (False, True)
