"""How many workers may be awake, by what each number of them does."""

import pytest

from akkordeon.engines.scaling import AGAIN, HANGS, MANY, SPAN, STANDBY, STUCK, WorkerScaling


class Machine:
    """A machine of which it is known how many turns it takes, by the number of workers awake."""

    def __init__(self, workers: int, rates: dict[int, float]) -> None:
        self.crew = WorkerScaling(workers)
        self.rates = rates
        self.now = 100.0
        self.grew = 0

    def go_on(self, seconds: float) -> set[int]:
        """Take turns; return the numbers of workers that were awake."""
        end, seen = self.now + seconds, set()
        while self.now < end:
            self.now += 1 / self.rates[self.crew.most]
            self.grew += self.crew.took_turn(self.now)
            seen.add(self.crew.most)
        return seen


def test_one_worker_goes_on_alone_where_it_does_more() -> None:
    machine = Machine(2, {2: 5 * MANY, 1: 8 * MANY})
    assert machine.go_on(1.0) == {1, 2}
    assert machine.go_on(AGAIN / 2) == {1}


def test_all_go_on_where_they_do_more() -> None:
    machine = Machine(4, {4: 8 * MANY, 1: 5 * MANY})
    assert machine.go_on(1.0) == {1, 4}
    assert machine.go_on(AGAIN / 2) == {4}
    assert machine.grew > 0


def test_it_is_looked_at_again() -> None:
    machine = Machine(2, {2: 5 * MANY, 1: 8 * MANY})
    machine.go_on(1.0)
    machine.rates = {2: 9 * MANY, 1: 8 * MANY}
    machine.go_on(AGAIN + 10 * SPAN)
    assert machine.go_on(AGAIN / 2) == {2}


def test_nothing_is_tried_where_turns_are_long() -> None:
    machine = Machine(2, {2: MANY / 4, 1: MANY})
    assert machine.go_on(3 * AGAIN) == {2}


def test_nothing_is_tried_with_one_worker() -> None:
    machine = Machine(1, {1: 5 * MANY})
    assert machine.go_on(3 * AGAIN) == {1}


def test_all_wake_when_the_one_is_at_something_long() -> None:
    machine = Machine(2, {2: 5 * MANY, 1: 8 * MANY})
    machine.go_on(1.0)
    assert not machine.crew.is_stuck(machine.now + STUCK / 2)
    assert machine.crew.is_stuck(machine.now + 2 * STUCK)
    assert machine.crew.most == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_the_one_that_stands_by_wakes_when_all_hang_and_goes_when_they_do_not(workers: int) -> None:
    machine = Machine(workers, dict.fromkeys(range(1, workers + STANDBY + 1), MANY / 4))
    machine.go_on(1.0)
    assert not machine.crew.is_stuck(machine.now + HANGS / 2)
    assert machine.crew.is_stuck(machine.now + 2 * HANGS)
    assert machine.crew.most == workers + STANDBY
    machine.now += 3 * HANGS
    machine.go_on(1.0)
    assert machine.go_on(1.0) == {workers}
