"""The comparison of the zoo notices what is wrong: a difference, an error, another refusal, another gradient."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor, nn

from tests.strangers.arrangements import ARRANGEMENTS, LATE, Arrangement
from tests.strangers.entry import WIDTH, Entry
from tests.strangers.late import trial_of_gradients
from tests.strangers.parts import around, head, linear
from tests.strangers.trials import Outcome, trial

pytestmark = pytest.mark.filterwarnings("ignore")

forwards = itertools.count()


class Counting(nn.Module):
    """Computes something else at each of its forwards, whoever runs them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x) * (1 + 0.1 * next(forwards))


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ArithmeticError("a stranger's error")


PLAIN = Entry(lambda: around(linear()))


@pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids=str)
def test_a_model_that_is_not_trained_alike_differs(arrangement: Arrangement) -> None:
    outcome = trial(Entry(lambda: around(Counting())), arrangement)
    assert outcome.kind == "DIFFERS"
    assert "loss 0" in outcome.text


def test_a_model_that_is_trained_alike_is_equal() -> None:
    assert trial(PLAIN, ARRANGEMENTS[0]).meets(PLAIN)
    assert not trial(PLAIN, ARRANGEMENTS[0]).meets(replace(PLAIN, refused="anything"))


@pytest.mark.parametrize("arrangement", LATE, ids=str)
def test_a_gradient_of_something_else_differs(arrangement: Arrangement) -> None:
    outcome = trial_of_gradients(Entry(lambda: around(Counting())), arrangement)
    assert outcome.kind == "DIFFERS"
    assert "at gate 0: the gradient of 0.weight" in outcome.text


def test_an_entry_that_fails_by_itself_says_so() -> None:
    outcome = trial(Entry(lambda: [linear(), Failing(), head()]), ARRANGEMENTS[0])
    assert str(outcome) == "FAILS: the plain loop raises ArithmeticError: a stranger's error"


def test_a_refusal_with_other_words_is_not_what_was_expected() -> None:
    entry = replace(PLAIN, refused="its own weights")
    assert Outcome("refused", "the module writes into its own weights").meets(entry)
    assert not Outcome("refused", "something else").meets(entry)
    assert not Outcome("FAILS", "its own weights").meets(entry)


class Spoils(nn.Module):
    """Writes into the module that was given to the network, whichever copy runs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        first.append(self.linear)

    def forward(self, x: Tensor) -> Any:
        first[-1].bias.data.add_(1)
        return self.linear(x)


first: list[nn.Linear] = []


def test_a_change_of_the_module_that_was_given_shows() -> None:
    outcome = trial(Entry(lambda: around(Spoils())), ARRANGEMENTS[0])
    assert str(outcome) == "DIFFERS: the module that was given has changed"
