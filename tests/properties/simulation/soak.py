"""Simulates networks under faults by the hundred thousand, until one breaks a promise.

    python -m tests.properties.simulation.soak --seeds 100000
    python -m tests.properties.simulation.soak --replay mixed 17      # with its log of events
    python -m tests.properties.simulation.soak --mutations            # after how many seeds each rule is missed

Prints one line of JSON at the end, or that of the run that broke a promise and how to replay it.
"""

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.properties.simulation.mutations import MUTATIONS
from tests.properties.simulation.run import Outcome, Run, percentiles, simulate
from tests.properties.simulation.scenario import FLAVOURS, draw
from tests.properties.simulation.test_mutations import seeds_until_noticed


def main() -> int:
    """Read what is wanted, and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="seed to begin with")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="end after so long, with the seeds done by then"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", nargs=2, metavar=("FLAVOUR", "SEED"))
    parser.add_argument("--mutations", action="store_true")
    wanted = parser.parse_args()
    if wanted.mutations:
        print(json.dumps({mutation.rule: seeds_until_noticed(mutation) for mutation in MUTATIONS}, indent=2))
        return 0
    if wanted.replay:
        return replay(wanted.replay[0], int(wanted.replay[1]))
    return soak(range(wanted.first, wanted.first + wanted.seeds), wanted.workers, wanted.seconds)


def run(number: int) -> Outcome:
    """Run a seed; the kinds of misfortune take turns."""
    return simulate(draw(number, FLAVOURS[number % len(FLAVOURS)]))


def soak(seeds: range, workers: int, seconds: float) -> int:
    """Run many, and stop at the first violation."""
    began, total = time.monotonic(), Totals()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for outcome in pool.imap_unordered(run, seeds, chunksize=8):
            total.add(outcome)
            if outcome.violations:
                print(outcome.line())
                print(
                    f"replay it: python -m tests.properties.simulation.soak --replay {outcome.flavour} {outcome.seed}"
                )
                return 1
            took = time.monotonic() - began
            if total.runs % 100 == 0:
                progress = f"\r{total.runs} of {len(seeds)} seeds, {total.runs / took:.0f} per second"
                print(progress, end="", file=sys.stderr, flush=True)
            if took > seconds:
                break
    print(file=sys.stderr)
    print(json.dumps(dict(total.values())))
    return 0


class Totals:
    """What all runs have in common."""

    def __init__(self) -> None:
        self.runs = 0
        self.failed = 0
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.recovery: list[float] = []

    def add(self, outcome: Outcome) -> None:
        """Take a run in."""
        self.runs += 1
        self.failed += outcome.failed is not None
        self.faults += outcome.faults
        self.dropped += outcome.dropped
        largest = {key: max(self.counts[key], outcome.counts[key]) for key in LARGEST}
        self.counts += outcome.counts
        for key, value in largest.items():
            self.counts[key] = value
        self.recovery += outcome.recovery

    def values(self) -> Iterator[tuple[str, object]]:
        """Yield the fields of the summary."""
        yield "runs", self.runs
        yield "engine", "stepped"
        yield "faults_injected", dict(self.faults)
        yield "batches_dropped", dict(self.dropped)
        yield "applied_twice", self.counts.pop("applied_twice", 0)
        yield from sorted(self.counts.items())
        yield "seconds_to_recover", percentiles(self.recovery)
        yield "networks_failed", self.failed


LARGEST = ("mailbox", "table", "staleness")
"""Of which the largest counts, not the sum."""


def replay(flavour: str, seed: int) -> int:
    """Run a seed again, and print every event."""
    simulation = Run(draw(seed, next(each for each in FLAVOURS if each == flavour)))

    def show(event: str, name: str, message: object) -> None:
        print(f"{simulation.engine.time:.3f} {event} {name} {'' if message is None else message}")

    simulation.engine.observers.append(show)
    outcome = simulation.play()
    print(outcome.line())
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
