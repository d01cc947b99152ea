"""The window is found on made-up pipelines: of known capacity, with noise, and with loaders that are slow."""

import math
import random
from collections import Counter, deque
from collections.abc import Callable

import pytest

from akkordeon.sentinel.auto_window import MOST_IN_FLIGHT, AutoWindow, Change

SECONDS = 0.1
"""That a batch takes to go round, alone."""


def knee_at(window: float) -> Callable[[int, int], float]:
    """Batches per second of a closed network: as many more as are out, until the slowest of it is busy all the time."""
    return lambda _number, out: min(out, window) / SECONDS


class Scheduler:
    """A pipeline that returns batches at the rate it has for so many in flight, and what is made of that.

    Args:
        rate: batches per second, given the number of the batch and how many are out.
        noise: standard deviation of the time between two batches, as a share of it.
        most: that is granted.
        loader: batches per second that there are at most.
    """

    def __init__(
        self,
        rate: Callable[[int, int], float],
        *,
        noise: float = 0.0,
        seed: int = 0,
        most: int = MOST_IN_FLIGHT,
        loader: float = float("inf"),
    ) -> None:
        self.auto = AutoWindow(most)
        self.changes: list[Change] = []
        self.windows: deque[int] = deque(maxlen=20_000)
        self.loader = loader
        self.now = 0.0
        self._rate, self._noise = rate, noise
        self._random = random.Random(seed)
        self._number = 0

    def run(self, batches: int) -> "Scheduler":
        for _ in range(batches):
            window = self.auto.window
            rate = min(self._rate(self._number, window), self.loader)
            # By Little's law, what the loader does not yield is not out.
            out = min(window, max(1.0, rate * SECONDS)) if rate == self.loader else float(window)
            whole = math.floor(out + self._random.random())
            self.now += max(0.05, self._random.gauss(1.0, self._noise)) / rate
            self.windows.append(window)
            self._number += 1
            if (change := self.auto.came_back(self.now, whole)) is not None:
                self.changes.append(change)
        return self

    @property
    def kept(self) -> int:
        return self.changes[-1].window if self.changes else 1


@pytest.mark.parametrize("knee", [1, 2, 3, 5, 8, 12, 16])
def test_the_window_is_the_smallest_that_keeps_the_slowest_busy(knee: int) -> None:
    course = Scheduler(knee_at(knee)).run(12_000)
    assert course.kept == knee
    assert [change.window for change in course.changes] == list(range(2, knee + 1))


@pytest.mark.parametrize("knee", [1, 2, 4, 6])
@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_noise_does_not_make_it_wider_than_that_and_one_more(knee: int, noise: float) -> None:
    kept = Counter(Scheduler(knee_at(knee), noise=noise, seed=seed).run(6000).kept for seed in range(20))
    assert sum(count for window, count in kept.items() if knee <= window <= knee + 1) >= 18, kept


def test_a_knee_between_two_windows_is_met_by_the_larger_if_that_pays() -> None:
    assert Scheduler(knee_at(3.5)).run(4000).kept == 4
    assert Scheduler(knee_at(3.03)).run(4000).kept == 3


def test_gains_that_are_small_at_each_step_are_not_missed_together() -> None:
    def rate(_number: int, out: int) -> float:
        return 100.0 * {1: 1.0, 2: 1.5, 3: 1.515, 4: 1.53}.get(out, 1.6)

    assert Scheduler(rate).run(12_000).kept >= 4


def test_a_step_without_a_gain_does_not_hide_those_behind_it() -> None:
    assert Scheduler(lambda _number, out: 100.0 * {1: 1.0, 2: 1.0, 3: 1.5}.get(out, 1.5)).run(4000).kept == 3


def test_no_more_is_in_flight_than_is_granted() -> None:
    course = Scheduler(knee_at(8), most=3).run(4000)
    assert (course.kept, max(course.windows)) == (3, 3)
    change = course.auto.limit(2)
    assert change is not None
    assert (change.before, change.window, change.reason) == (3, 2, "no more than 2 are granted")
    assert course.auto.window == 2
    assert course.auto.limit(2) is None
    assert course.auto.limit(5) is None
    course.run(6000)
    assert (course.kept, max(course.windows)) == (5, 5)


def test_with_one_granted_there_is_nothing_to_be_found() -> None:
    course = Scheduler(knee_at(8), most=1).run(2000)
    assert (course.changes, set(course.windows)) == ([], {1})


def test_where_the_slowest_becomes_faster_fewer_are_in_flight() -> None:
    course = Scheduler(lambda number, out: min(out, 6 if number < 4000 else 2) / SECONDS).run(20_000)
    assert max(change.window for change in course.changes) == 6
    assert course.kept in (2, 3)


def test_where_the_slowest_is_relieved_more_are_in_flight() -> None:
    course = Scheduler(lambda number, out: min(out, 2 if number < 4000 else 6) / SECONDS).run(20_000)
    assert course.kept == 6


def test_a_loader_that_is_slow_needs_no_wide_window() -> None:
    course = Scheduler(knee_at(8)).run(8000)
    assert course.kept == 8
    course.loader = 1.5 / SECONDS
    course.run(20_000)
    assert course.kept <= 2
    assert any("the loader is slow" in change.reason for change in course.changes)


def test_it_looks_less_and_less_often_where_nothing_changes() -> None:
    course = Scheduler(knee_at(2)).run(40_000)
    away = sum(window != 2 for window in course.windows)
    assert 0 < away < 0.15 * len(course.windows)


def test_a_span_that_something_else_held_up_does_not_count() -> None:
    course = Scheduler(knee_at(3))
    for _ in range(200):
        course.run(30)
        course.now += 60.0  # as a save does
        course.auto.interrupt()
    assert course.changes == []


def test_each_change_says_what_it_is_good_for() -> None:
    course = Scheduler(knee_at(2)).run(2000)
    assert [(each.before, each.window, each.reason) for each in course.changes] == [
        (1, 2, "2 against 1: +100.0% throughput, 15 batches/s")
    ]
    assert "against 2" in course.auto.reason
