"""Trains models that are made up, both ways; counts how often each kind of oddity occurred.

python -m tests.strangers.fuzz 17    # one of them, with what it is made of
"""

import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterable

from tests.strangers.arrangements import ARRANGEMENTS, LATE
from tests.strangers.late import trial_of_gradients
from tests.strangers.trees import KINDS, MAY_BE_REFUSED, draw, entry_of, kinds_of
from tests.strangers.trials import Outcome, trial

SEEDS = 300

LEAST = 30
"""Of `SEEDS` models, each kind occurs in so many."""


def outcomes(number: int) -> list[tuple[str, Outcome]]:
    """Train a model both ways in one of the arrangements, and compare its gradients in another."""
    entry = entry_of(number)
    one, several = ARRANGEMENTS[number % len(ARRANGEMENTS)], LATE[number % len(LATE)]
    return [(str(one), trial(entry, one)), (f"{several}, gradients", trial_of_gradients(entry, several))]


def as_expected(number: int, outcome: Outcome) -> bool:
    """Whether it is equal, or refused where that may be."""
    may = kinds_of(number) & MAY_BE_REFUSED
    return outcome.kind == "equal" or (outcome.kind == "refused" and bool(may))


def run(numbers: Iterable[int]) -> Counter[str]:
    """Train many; print those that are not as expected, and how often each kind occurred."""
    counts: Counter[str] = Counter()
    occurred: Counter[str] = Counter()
    for number in numbers:
        occurred.update(kinds_of(number))
        for where, outcome in outcomes(number):
            counts.update(("trials", outcome.kind))
            if not as_expected(number, outcome):
                counts["not as expected"] += 1
                print(f"made up {number:<4} {where:45} {str(outcome)[:200]}", flush=True)
    print("models made up hold: " + ", ".join(f"{kind} {occurred[kind]}" for kind in KINDS))
    return counts


def main() -> int:
    """Run the models whose numbers are given, and show what they are made of."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    wrong = False
    for number in map(int, sys.argv[1:]):
        print(number, *draw(number), sep="\n    ")
        for where, outcome in outcomes(number):
            print(f"  {where:45} {outcome}")
            wrong |= not as_expected(number, outcome)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
