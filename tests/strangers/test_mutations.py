"""Switches off each guard of gates and sentinels: a model of the zoo is not trained, or refused, as expected then."""

import pytest

from tests.strangers.entries import ZOO
from tests.strangers.mutations import MUTATIONS, Mutation

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[each.guard.replace(" ", "-") for each in MUTATIONS])
def test_a_guard_that_is_switched_off_is_missed(mutation: Mutation) -> None:
    assert not mutation.outcome().meets(ZOO[mutation.noticed_by])
