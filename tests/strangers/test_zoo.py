"""Each model of the zoo, in one arrangement, is trained as in its own loop, or refused; `make zoo` runs all of them."""

import pytest

from tests.strangers.arrangements import LATE, Arrangement, arrangements
from tests.strangers.entries import MOST_REFUSED, ZOO
from tests.strangers.late import trial_of_gradients
from tests.strangers.trials import trial

pytestmark = pytest.mark.filterwarnings("ignore")  # strangers' models warn of what they please

NUMBERED = list(enumerate(ZOO))


def arrangement_of(number: int, name: str) -> Arrangement:
    possible = arrangements(whole=ZOO[name].whole)
    return possible[number % len(possible)]


TURNS: list[tuple[str, Arrangement]] = [(name, arrangement_of(number, name)) for number, name in NUMBERED]

LATE_TURNS: list[tuple[str, Arrangement]] = [
    (name, LATE[number // 2 % len(LATE)])
    for number, name in NUMBERED
    if (number % 2 or "checkpoint" in name) and ZOO[name].apart and not ZOO[name].refused
]
"""Every other one, and whatever runs parts of its forward again."""


def title(value: object) -> str:
    return str(value)


@pytest.mark.parametrize(("name", "arrangement"), TURNS, ids=title)
def test_a_strangers_model_is_trained_as_in_its_own_loop_or_refused(name: str, arrangement: Arrangement) -> None:
    outcome = trial(ZOO[name], arrangement)
    assert outcome.meets(ZOO[name]), outcome


@pytest.mark.parametrize(("name", "arrangement"), LATE_TURNS, ids=title)
def test_a_late_gradient_is_that_at_the_weights_of_its_forward(name: str, arrangement: Arrangement) -> None:
    outcome = trial_of_gradients(ZOO[name], arrangement)
    assert outcome.meets(ZOO[name]), outcome


def test_the_zoo_is_large_and_few_are_refused() -> None:
    assert len(ZOO) >= 60
    assert sum(bool(entry.refused) for entry in ZOO.values()) <= MOST_REFUSED * len(ZOO)
