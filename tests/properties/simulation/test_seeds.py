"""Networks under all faults, by the thousand: whatever goes wrong, every batch ends, and none counts twice.

Each case covers the seeds of one kind of misfortune. `make soak` covers more of them, and says how to replay one.
"""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.properties.simulation.run import Outcome, simulate
from tests.properties.simulation.scenario import Flavour, calm, draw

SEEDS = 125
"""Of each case; `make soak` has as many as there is time for."""


def run(flavour: Flavour, seeds: range) -> list[Outcome]:
    outcomes = []
    for seed in seeds:
        outcome = simulate(draw(seed, flavour))
        assert not outcome.violations, f"{flavour} {seed}: {outcome.line()}"
        outcomes.append(outcome)
    return outcomes


def faults(outcomes: list[Outcome]) -> Counter[str]:
    return sum((outcome.faults for outcome in outcomes), Counter())


def counts(outcomes: list[Outcome]) -> Counter[str]:
    return sum((outcome.counts for outcome in outcomes), Counter())


def must(*kinds: str) -> Callable[[list[Outcome]], None]:
    """All of these must have gone wrong."""

    def check(outcomes: list[Outcome]) -> None:
        injected = faults(outcomes)
        assert all(injected[kind] for kind in kinds), injected
        assert sum(injected.values()) >= 3 * len(outcomes), injected

    return check


def stuck(outcomes: list[Outcome]) -> None:
    """Some links must have been cut for good, and some sentinels have left because of that or a computation."""
    assert faults(outcomes)["loss"]
    assert counts(outcomes)["sentinels_failed"] > len(outcomes) / 2


def nothing(outcomes: list[Outcome]) -> None:
    """Nothing must have gone wrong but what computations take."""
    assert faults(outcomes) == {}


CASES: dict[Flavour, Callable[[list[Outcome]], None]] = {
    "mixed": must("loss", "crash", "silent crash", "pause", "partition", "hiccup", "non-finite gradient"),  # D1
    "duplicates": must("duplicate", "loss"),  # D2
    "partitions": must("partition", "cut off", "pause", "silent crash"),  # D3
    "reordering": must("reordering", "duplicate"),  # D4
    "churn": must("crash", "loss"),  # D5
    "conductor": must("conductor dies"),  # D6
    "wide": must("crash", "loss"),  # D7
    "slow": must("slow"),  # D8
    "numbers": must("non-finite gradient", "overflow"),  # D9
    "poison": must("poison", "torn update"),  # D12
    "storm": must("crash"),
    "sleep": must("pause", "loss"),
    "patient": nothing,
    "stuck": stuck,
}


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("flavour", CASES)
def test_no_promise_is_broken(flavour: Flavour, part: int) -> None:
    outcomes = run(flavour, range(part * SEEDS, (part + 1) * SEEDS))
    CASES[flavour](outcomes)
    assert counts(outcomes)["updates"] > 50 * len(outcomes)


def test_every_gate_applies_what_its_sentinel_counts_where_nothing_goes_wrong() -> None:
    """With a calm scenario the figures add up exactly."""
    for seed in range(20):
        outcome = simulate(calm(seed))
        assert not outcome.violations, outcome.line()
        assert outcome.faults == {}
        assert outcome.dropped == {}
        assert outcome.counts["batches_resent"] == outcome.counts["replacements"] == 0
        assert outcome.counts["updates"] == outcome.counts["batches_done"] * calm(seed).gates
