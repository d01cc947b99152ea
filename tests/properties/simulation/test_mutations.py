"""Switches off each rule that keeps a network safe; the oracle must notice, as it must notice a bug there (D13)."""

import inspect

import pytest

from tests.properties.simulation.mutations import MUTATIONS, RULE, Mutation
from tests.properties.simulation.run import simulate
from tests.properties.simulation.scenario import draw

SEEDS = 200


def seeds_until_noticed(mutation: Mutation) -> int | None:
    """Return how many seeds it takes; None if that is too many."""
    with mutation.off():
        for seed in range(SEEDS):
            flavour = mutation.flavours[seed % len(mutation.flavours)]
            if simulate(draw(seed, flavour)).violations:
                return seed + 1
    return None


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[each.rule.replace(" ", "-") for each in MUTATIONS])
def test_a_rule_that_is_switched_off_is_missed(mutation: Mutation) -> None:
    assert seeds_until_noticed(mutation) is not None


@pytest.mark.parametrize(
    "mutation", [each for each in MUTATIONS if inspect.isclass(each.owner)], ids=lambda each: each.rule
)
def test_the_code_of_a_rule_says_that_it_is_one(mutation: Mutation) -> None:
    text = inspect.getdoc(getattr(mutation.owner, mutation.name)) or ""
    assert RULE in text
