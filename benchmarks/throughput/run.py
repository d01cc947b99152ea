"""Throughput on a quiet machine: akkordeon against plain PyTorch, and against what two processes do.

The unit is an epoch of the same batches, ready in memory; an arm's figure is the median of its epochs, in a fresh
process; all arms of a model run one after the other, and a round in which others took more than 5 % of the CPU is void.
Plain PyTorch is the better of one and two intra-op threads; a pipeline has as many micro-batches as were best in one
round before.

    python benchmarks/speed/quiet.py                           # everything, an hour or more; writes the tables
    python benchmarks/speed/quiet.py --whole 2                 # DDP, Hogwild and pipelines in two rounds only
    python benchmarks/speed/quiet.py --only cnn-64 --rounds 3  # a model; what is known of the others stays
    python benchmarks/speed/quiet.py --add DDP --rounds 5      # more rounds, of this arm besides plain and akkordeon
    python benchmarks/speed/quiet.py --arm "cnn-64 akkordeon"  # one arm, in this process; prints JSON
"""

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from loops import actors, batches, plain
from processes import data_parallel, hogwild, pipeline

from akkordeon.bench.apart import of_the_median, rounds, run_apart
from models import MODELS

HERE = Path(__file__).parent
ROUNDS = 7
KINDS, PIECES = ("gpipe", "1f1b"), (2, 4, 8)

Measure = Callable[[str], list[float]]


def on_threads(name: str, threads: int) -> list[float]:
    """Return seconds of each epoch of a plain loop."""
    data = MODELS[name].data()
    return plain(MODELS[name], lambda: data, threads)


def as_actors(name: str) -> list[float]:
    """Return seconds of each epoch of one sentinel."""
    data = MODELS[name].data()
    return actors(MODELS[name], lambda: data)


def on_ray(name: str) -> list[float]:
    """Return the same with each gate, and the sentinel, in a process of its own."""
    from akkordeon.engines import Ray  # noqa: PLC0415 - an extra

    return actors(MODELS[name], partial(batches, name), engine=Ray(spares=0))


ON_RAY = "akkordeon on Ray"

ARMS: dict[str, Measure] = {
    "plain, 1 thread": partial(on_threads, threads=1),
    "plain, 2 threads": partial(on_threads, threads=2),
    "akkordeon": as_actors,
    ON_RAY: on_ray,
    "DDP": data_parallel,
    "Hogwild": hogwild,
    **{
        f"{kind}, {pieces}": partial(pipeline, kind=kind, pieces=pieces)
        for kind, pieces in itertools.product(KINDS, PIECES)
    },
}
PLAIN, OURS, FIXED = list(ARMS)[:2], "akkordeon", 6
"""The plain arms, akkordeon, and how many arms are no pipelines."""


def pipelines(name: str) -> list[str]:
    """Return the arm of each kind of pipeline with its best number of micro-batches, which have to be equal."""
    size = len(MODELS[name].make_batch()[0])
    seconds = {
        (kind, pieces): run_apart(__file__, f"{name} {kind}, {pieces}")[0]["seconds"]
        for kind, pieces in itertools.product(KINDS, PIECES)
        if size % pieces == 0
    }
    best = [min((each for each in seconds if each[0] == kind), key=seconds.__getitem__) for kind in KINDS]
    return [f"{kind}, {pieces}" for kind, pieces in best]


def measure(name: str, wanted: int, whole: int) -> list[dict[str, float]]:
    """Return seconds per epoch of the arms of a model, by round; of all arms in so many whole rounds."""
    everything = [*list(ARMS)[:FIXED], *pipelines(name)]
    return [*quiet_rounds(name, everything, whole), *quiet_rounds(name, [*PLAIN, OURS], wanted - whole)]


def quiet_rounds(name: str, arms: Sequence[str], wanted: int) -> list[dict[str, float]]:
    """Return seconds per epoch of these arms, by round."""
    counted = rounds(__file__, [f"{name} {arm}" for arm in arms], wanted, strangers=[f"{name} {ON_RAY}"])
    return [{arm: each[f"{name} {arm}"]["seconds"] for arm in arms} for each in counted]


def rows(name: str, found: Sequence[dict[str, float]]) -> list[str]:
    """Return the lines of a model: throughput as a ratio to plain PyTorch at its best, and akkordeon's to each."""
    lines = []
    known = {arm for each in found for arm in each}
    for arm in (arm for arm in ARMS if arm in known):
        having = [each for each in found if arm in each]
        ratios = [min(each[plain] for plain in PLAIN) / each[arm] for each in having]
        ahead = [each[arm] / each[OURS] for each in having]
        seconds = median(each[arm] for each in having)
        target = f">= {MODELS[name].target}" if arm == OURS else ""
        lines.append(f"| {name} | {arm} | {seconds:.4f} | {told(ratios)} | {target} | {told(ahead)} | {len(having)} |")
    return lines


def told(ratios: Sequence[float]) -> str:
    return "{:.2f} ({:.2f} - {:.2f})".format(*of_the_median(ratios))


HEAD = [
    "| model | arm | seconds per epoch | throughput to plain at its best | target | akkordeon's to this | rounds |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
]


def main(only: Sequence[str], wanted: int, whole: int, added: Sequence[str]) -> None:
    kept = HERE / "figures.json"
    figures: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in only or MODELS:
        if added:
            found = [*figures.get(name, []), *quiet_rounds(name, [*PLAIN, OURS, *added], wanted)]
        else:
            found = measure(name, wanted, min(wanted, whole))
        if found:
            figures[name] = found
            print("\n".join([*HEAD, *rows(name, found)]), flush=True)
        else:
            print(f"{name}: no round was quiet", flush=True)
        lines = [line for each in MODELS if each in figures for line in rows(each, figures[each])]
        (HERE / "table.md").write_text("\n".join([*HEAD, *lines]) + "\n")
        kept.write_text(json.dumps(figures, indent=1) + "\n")


def run(arm: str) -> None:
    """Measure one arm of one model, and print it."""
    name, _, what = arm.partition(" ")
    print(json.dumps({"seconds": median(ARMS[what](name))}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(MODELS), nargs="*", default=[], help="measure these models")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="quiet ones that are wanted")
    parser.add_argument("--whole", type=int, default=ROUNDS, help="of these, with more than plain and akkordeon")
    others = [arm for arm in ARMS if arm not in (*PLAIN, OURS)]
    parser.add_argument("--add", choices=others, nargs="+", default=[], help="add rounds of these to what is known")
    parser.add_argument("--arm", metavar="'MODEL ARM'", help="measure this alone, in this process")
    options = parser.parse_args()
    if options.arm:
        run(options.arm)
    else:
        main(options.only, options.rounds, options.whole, options.add)
