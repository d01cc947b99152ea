"""What is simulated of a network as it grows takes as long as it must, and keeps what it must."""

import pytest

from benchmarks.growth_simulated.simulation import Point, simulate

TABLE = {"work gate Forward": 1.0, "work gate Backward": 2.0, "turn gate Backward then": 0.5, "hop": 0.0}
OWN = 1 / 3.5
"""Batches per second of one gate that has all of them at hand."""


def test_one_batch_in_flight_takes_the_sum_of_all_that_it_waits_for() -> None:
    """Three gates: 2 * 4 messages of 1 s, of which all but the last occupy a link for half a second."""
    found = simulate(Point(3, 1, latency=1.0, megabits=1.048576), TABLE)
    assert 1 / found["batches_per_second"] == pytest.approx(3 * 3.5 + 8 * 1.0 + 7 * 0.5)
    assert (found["staleness_first"], found["staleness_last"]) == (0.0, 0.0)
    assert found["stashed"] == 3
    assert found["versions"] == 6  # the live weights of each gate, and the copy that the batch holds


def test_many_batches_in_flight_keep_each_gate_busy() -> None:
    found = simulate(Point(4, 16), TABLE)
    assert found["batches_per_second"] == pytest.approx(OWN, rel=0.01)
    assert 0.0 < found["staleness_last"] < found["staleness_first"] < 16.0


def test_a_link_carries_one_message_after_the_other() -> None:
    """A message occupies its direction for 10 s, which is longer than a gate takes for a batch."""
    found = simulate(Point(2, 16, latency=0.0, megabits=8 * 65536 / 1e7), TABLE)
    assert found["batches_per_second"] == pytest.approx(0.1, rel=0.01)


def test_sentinels_share_the_gates() -> None:
    found = simulate(Point(2, 1, sentinels=16, heavier=2.0), TABLE)
    assert found["batches_per_second"] == pytest.approx(1 / 6.5, rel=0.01)
    assert found["staleness_first"] < 16.0
