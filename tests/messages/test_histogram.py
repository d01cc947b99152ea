"""How often each whole number came."""

import random
import statistics

import pytest

from akkordeon import Histogram
from akkordeon.cli.output import Output
from akkordeon.engines.ray.wire import pack, unpack


def test_before_the_first_value_all_is_nothing() -> None:
    assert Histogram().figures() == {"mean": 0.0, "p50": 0, "p95": 0, "max": 0, "counts": {}}
    assert Histogram().count == 0


@pytest.mark.parametrize("amount", [1, 2, 7, 20, 100, 999])
def test_its_figures_are_those_of_the_values_it_took_in(amount: int) -> None:
    values = random.Random(amount).choices(range(9), k=amount)
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    ordered = sorted(values)
    assert histogram.count == amount
    assert histogram.mean == pytest.approx(statistics.fmean(values))
    assert histogram.p50 == statistics.median_low(values)
    assert histogram.p95 == ordered[-(-95 * amount // 100) - 1]
    assert histogram.max == ordered[-1]
    assert list(histogram.counts.items()) == [(each, values.count(each)) for each in sorted(set(values))]


def test_as_text_it_is_the_mean_and_in_brackets_median_tail_and_largest() -> None:
    assert str(Histogram({3: 16, 4: 3, 5: 1})) == "3.2 (3|4|5)"


def test_the_same_counts_are_the_same_histogram_in_whatever_order_they_came() -> None:
    one, other = Histogram(), Histogram({1: 1})
    one.add(4)
    one.add(1)
    other.add(4)
    assert one == other == Histogram(one.counts)
    assert one != Histogram({1: 1})
    assert one != {1: 1, 4: 1}


def test_a_copy_goes_its_own_way() -> None:
    one = Histogram({1: 1})
    other = one.copy()
    other.add(1)
    one.counts[5] = 5
    assert (one.counts, other.counts) == ({1: 1}, {1: 2})


def test_it_travels_between_processes_in_some_bytes() -> None:
    histogram = Histogram(dict.fromkeys(range(20), 10**6))
    data, buffers = pack(histogram)
    assert (len(data) < 400, list(buffers)) == (True, [])
    assert unpack(data, buffers) == histogram


def test_programs_get_all_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).event("late", stem=Histogram({0: 1, 2: 3}))
    assert capsys.readouterr().out == (
        '{"event": "late", "stem": {"mean": 1.5, "p50": 2, "p95": 2, "max": 2, "counts": {"0": 1, "2": 3}}}\n'
    )
