"""The largest stable step of a gate that lives is that of the theory."""

import pytest

from benchmarks.staleness.stability import KINDS, law, limit


@pytest.mark.parametrize(("kind", "staleness"), [(kind, staleness) for kind in KINDS for staleness in (0, 1, 2)])
def test_the_limit_is_that_of_the_theory(kind: str, staleness: int) -> None:
    assert limit(kind, staleness).error == pytest.approx(0.0, abs=0.02)


def test_the_theory_gives_what_is_published() -> None:
    assert [law("SGD", late) for late in (0, 1, 2, 4, 8, 16)] == pytest.approx(
        [2.0, 1.0, 0.618, 0.347, 0.185, 0.095], rel=0.005
    )
    assert [law("heavy ball", late) for late in (0, 1, 2, 4, 8)] == pytest.approx(
        [38, 1.0, 0.512, 0.265, 0.139], rel=0.005
    )
    assert [law("spike", late) for late in (0, 1, 2, 4, 8)] == pytest.approx([38, 2.53, 1.14, 0.483, 0.207], rel=0.005)
