"""Models that are made up are trained as in a plain loop; `make zoo` makes up more of them."""

from collections import Counter

import pytest

from tests.strangers.fuzz import LEAST, SEEDS, as_expected, outcomes
from tests.strangers.trees import KINDS, draw, kinds_of

FEW = 40


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(FEW))
def test_a_model_that_is_made_up_is_trained_as_in_a_plain_loop(number: int) -> None:
    wrong = [f"{where}: {outcome}" for where, outcome in outcomes(number) if not as_expected(number, outcome)]
    assert wrong == [], "; ".join(map(str, draw(number)))


def test_each_kind_of_oddity_occurs_often_enough() -> None:
    occurred = Counter(kind for number in range(SEEDS) for kind in kinds_of(number))
    assert {kind: occurred[kind] for kind in KINDS if occurred[kind] < LEAST} == {}
