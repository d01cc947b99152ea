"""Trains the whole zoo in every arrangement, and models that are made up; prints a table as it goes.

    python -m tests.strangers.zoo                       # all of it: some minutes
    python -m tests.strangers.zoo --only checkpointing  # names that hold a word
    python -m tests.strangers.zoo --seeds 0             # without models that are made up

Exit code 1 where anything is not as expected.
"""

import argparse
import logging
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.strangers import fuzz
from tests.strangers.arrangements import LATE, arrangements
from tests.strangers.entries import ZOO
from tests.strangers.entry import Entry
from tests.strangers.late import trial_of_gradients
from tests.strangers.trials import Outcome, trial

WIDEST = 240
"""Characters of an outcome that are shown."""

MANY = 1_000
"""Batches whose gradients are compared where parts of the forward run again in the backward."""


def main() -> int:
    """Read what is wanted, run it, and sum up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="names that hold this word")
    parser.add_argument("--seeds", type=int, default=fuzz.SEEDS, help="models that are made up")
    parser.add_argument("--many", type=int, default=MANY, help="batches of checkpointed models; 0 leaves them out")
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    counts: Counter[str] = Counter()
    names = [name for name in ZOO if wanted.only in name]
    for name in names:
        counts += judged(name, ZOO[name], list(trials(ZOO[name])))
    if wanted.many:
        for name in checkpointed(names):
            counts += judged(f"{name}, {wanted.many} batches", ZOO[name], list(many(ZOO[name], wanted.many)))
    if wanted.seeds:
        counts += fuzz.run(range(wanted.seeds))
    refused = [name for name in names if ZOO[name].refused]
    print(f"\n{len(names)} entries, of which {len(refused)} are to be refused: {', '.join(refused)}")
    print(f"{dict(counts)} in {time.monotonic() - began:.0f} s")
    return 1 if counts["not as expected"] else 0


def trials(entry: Entry) -> Iterator[tuple[str, Outcome]]:
    """Train an entry in all arrangements; then compare its gradients with several batches in flight."""
    for arrangement in arrangements(whole=entry.whole):
        yield str(arrangement), trial(entry, arrangement)
    if entry.apart and not entry.refused:
        for arrangement in LATE:
            yield f"{arrangement}, gradients", trial_of_gradients(entry, arrangement)


def many(entry: Entry, count: int) -> Iterator[tuple[str, Outcome]]:
    for arrangement in LATE:
        if arrangement.where == "threads":
            yield f"{arrangement}, gradients", trial_of_gradients(entry, arrangement, count)


def checkpointed(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("checkpointing: ")]


def judged(name: str, entry: Entry, outcomes: list[tuple[str, Outcome]]) -> Counter[str]:
    """Print a line for an entry, and one for each outcome that is not as expected."""
    wrong = [(where, outcome) for where, outcome in outcomes if not outcome.meets(entry)]
    verdict = f"{len(wrong)} of {len(outcomes)} not as expected" if wrong else outcomes[0][1].kind
    print(f"{name:65} {verdict}", flush=True)
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for where, outcome in wrong:
        alike[str(outcome)[:WIDEST]].append(where)
    for text, places in alike.items():
        others = f" and {len(places) - 1} more" if len(places) > 1 else ""
        print(f"    {places[0] + others:50} {text}", flush=True)
    counts: Counter[str] = Counter(outcome.kind for _, outcome in outcomes)
    counts.update({"trials": len(outcomes), "not as expected": len(wrong)})
    return counts


if __name__ == "__main__":
    sys.exit(main())
