"""What GPipe and 1F1B cost: the formulas, against the schedules played through piece by piece."""

import itertools

import pytest

from benchmarks.common.costs import Costs
from benchmarks.growth_simulated.formulas import (
    Link,
    bubble,
    flushed_seconds,
    gpipe_seconds,
    stashed_by_1f1b,
    stashed_by_gpipe,
)
from benchmarks.growth_simulated.schedules import Schedule, makespan, order

COSTS = Costs(forward=1.0, backward=2.0, update=0.5)
SIZES = list(itertools.product((1, 2, 3, 7), (1, 2, 5, 16)))


def test_the_bubble_is_that_of_the_papers() -> None:
    assert bubble(4, 8) == pytest.approx(3 / 11)
    assert bubble(1, 8) == 0.0
    assert bubble(4, 1) == pytest.approx(3 / 4)


@pytest.mark.parametrize(("gates", "pieces"), SIZES)
@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_where_links_take_no_time_both_schedules_take_what_the_formula_says(
    schedule: Schedule, gates: int, pieces: int
) -> None:
    expected = flushed_seconds(gates, pieces, COSTS)
    assert makespan(schedule, gates, pieces, COSTS, Link()) == pytest.approx(expected)
    assert expected == pytest.approx((pieces + gates - 1) * 3.0 + 0.5)


@pytest.mark.parametrize("link", [Link(), Link(0.7), Link(0.0, 0.5), Link(0.7, 1.5), Link(3.0, 4.0)])
@pytest.mark.parametrize(("gates", "pieces"), SIZES)
def test_gpipe_takes_what_the_formula_says_on_any_links(gates: int, pieces: int, link: Link) -> None:
    assert gpipe_seconds(gates, pieces, COSTS, link) == pytest.approx(makespan("gpipe", gates, pieces, COSTS, link))


def test_the_schedules_of_the_papers() -> None:
    first = "".join(step[0] for step in order("1f1b", 0, 4, 8))
    last = "".join(step[0] for step in order("1f1b", 3, 4, 8))
    assert first == "fff" + "fb" * 5 + "bbb"
    assert last == "fb" * 8
    assert "".join(step[0] for step in order("gpipe", 0, 4, 8)) == "f" * 8 + "b" * 8


@pytest.mark.parametrize(("gates", "pieces"), SIZES)
@pytest.mark.parametrize(("schedule", "stashed"), [("gpipe", stashed_by_gpipe), ("1f1b", stashed_by_1f1b)])
def test_a_schedule_keeps_as_many_pieces_as_the_formula_says(
    schedule: Schedule, stashed: object, gates: int, pieces: int
) -> None:
    assert callable(stashed)
    kept = 0
    for gate in range(gates):
        now = [1 if step == "forward" else -1 for step in order(schedule, gate, gates, pieces)]
        kept += max(itertools.accumulate(now))
        assert sum(now) == 0
    assert stashed(gates, pieces) == kept


def test_latency_holds_1f1b_up_for_each_time_that_it_waits_for_a_gradient() -> None:
    """Two gates and three pieces, drawn by hand: f 1, b 2, latency 10.

    gate 0: f0 0-1, f1 1-2, b0 24-26, f2 26-27, b1 27-29, b2 50-52
    gate 1: f0 11-12, b0 12-14, f1 14-15, b1 15-17, f2 37-38, b2 38-40
    """
    assert makespan("1f1b", 2, 3, Costs(1.0, 2.0), Link(10.0)) == pytest.approx(52.0)
    assert makespan("gpipe", 2, 3, Costs(1.0, 2.0), Link(10.0)) == pytest.approx(32.0)


def test_uneven_computations_take_what_is_drawn() -> None:
    drawn = iter([1.0, 5.0, 2.0, 2.0, 1.0, 1.0, 3.0, 3.0])

    def draw(mean: float) -> float:
        assert mean in {1.0, 2.0}
        return next(drawn)

    # One gate draws in the order of its work: four forwards, then four gradients.
    assert makespan("gpipe", 1, 4, COSTS, Link(), draw) == pytest.approx(18.0 + 0.5)
