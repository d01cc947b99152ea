"""Compensations by name."""

import pytest

import akkordeon as ak
from akkordeon.staleness.compensation import COMPENSATIONS
from akkordeon.staleness.registry import named


def test_each_name_makes_a_compensation_of_its_own() -> None:
    made = [named(name) for name in COMPENSATIONS]
    assert len({repr(each) for each in made}) == len(COMPENSATIONS)
    assert all(isinstance(each, ak.Compensation) for (each,) in made)


def test_several_are_given_with_commas_and_numbers_with_equals() -> None:
    assert named("linear=0.5, spike,limit=3") == (
        ak.WeightPrediction("linear", 0.5),
        ak.SpikeCompensation(),
        ak.StalenessLimit(3),
    )
    assert named("none") == ()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("spike,", "there is no compensation ''; there are: none, .*delay, .*limit"),
        ("Spike", "there is no compensation 'Spike'"),
        ("rate=fast", "'rate=fast': 'fast' is not a number"),
        ("spike=1", "'spike=1': it takes no number"),
        ("limit=0", "'limit=0': limit must be at least 1, not 0"),
    ],
)
def test_what_names_none_is_refused(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        named(text)
