"""Compares throughput on a quiet machine: akkordeon, plain PyTorch, and what two processes achieve.

The unit is an epoch of the same batches, ready in memory. The figure of an arm is the median of its epochs, in a fresh
process. All arms of a model run one after the other, and a round in which other processes used more than 5 % of the CPU
is void. Plain PyTorch is the faster of one and two intra-op threads. The number of micro-batches of a pipeline is the
best of one earlier round.

Examples:
  python -m benchmarks.throughput                           # everything, an hour or more; writes results and tables
  python -m benchmarks.throughput --whole 2                 # DDP, Hogwild and pipelines in two rounds only
  python -m benchmarks.throughput --only cnn-64 --rounds 3  # one model; results of the others are kept
  python -m benchmarks.throughput --add DDP --rounds 5      # more rounds, of plain, akkordeon and this arm
  python -m benchmarks.throughput --figure                  # draw figure.svg from results.json
  python -m benchmarks.throughput --arm "cnn-64 akkordeon"  # one arm, in this process; prints JSON
"""

import itertools
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.common.apart import rounds, run_apart, with_interval
from benchmarks.common.claims import parser, read_results, write_results, write_table
from benchmarks.common.figure import Panel, draw
from benchmarks.common.loops import actors, batches, plain
from benchmarks.common.models import MODELS
from benchmarks.common.processes import data_parallel, hogwild, pipeline

HERE, PACKAGE = Path(__file__).parent, "benchmarks.throughput"
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
    """Return seconds of each epoch with the sentinel and each gate in processes of their own."""
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
"""The plain arms, akkordeon, and the number of arms that are no pipelines."""


def pipelines(name: str) -> list[str]:
    """Return the arm of each kind of pipeline with its best number of micro-batches, which must be of equal size."""
    size = len(MODELS[name].make_batch()[0])
    seconds = {
        (kind, pieces): run_apart(PACKAGE, f"{name} {kind}, {pieces}")[0]["seconds"]
        for kind, pieces in itertools.product(KINDS, PIECES)
        if size % pieces == 0
    }
    best = [min((each for each in seconds if each[0] == kind), key=seconds.__getitem__) for kind in KINDS]
    return [f"{kind}, {pieces}" for kind, pieces in best]


def measure(name: str, wanted: int, whole: int) -> list[dict[str, float]]:
    """Return seconds per epoch of the arms of a model, by round; the first `whole` rounds have all arms."""
    everything = [*list(ARMS)[:FIXED], *pipelines(name)]
    return [*quiet_rounds(name, everything, whole), *quiet_rounds(name, [*PLAIN, OURS], wanted - whole)]


def quiet_rounds(name: str, arms: Sequence[str], wanted: int) -> list[dict[str, float]]:
    """Return seconds per epoch of these arms, by quiet round."""
    counted = rounds(PACKAGE, [f"{name} {arm}" for arm in arms], wanted, strangers=[f"{name} {ON_RAY}"])
    return [{arm: each[f"{name} {arm}"]["seconds"] for arm in arms} for each in counted]


def rows(name: str, found: Sequence[dict[str, float]]) -> list[str]:
    """Return the rows of a model: throughput to plain PyTorch at its best, and that of akkordeon to each arm."""
    lines = []
    known = {arm for each in found for arm in each}
    for arm in (arm for arm in ARMS if arm in known):
        having = [each for each in found if arm in each]
        ratios = [min(each[plain] for plain in PLAIN) / each[arm] for each in having]
        ahead = [each[arm] / each[OURS] for each in having]
        seconds = median(each[arm] for each in having)
        target = f">= {MODELS[name].target}" if arm == OURS else ""
        figures = f"{seconds:.4f} | {with_interval(ratios)} | {target} | {with_interval(ahead)}"
        lines.append(f"| {name} | {arm} | {figures} | {len(having)} |")
    return lines


HEAD = [
    "| model | arm | seconds per epoch | throughput to plain at its best | target | akkordeon to this arm | rounds |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
]


def measure_all(only: Sequence[str], wanted: int, whole: int, added: Sequence[str]) -> None:
    """Measure models, and write results and table after each."""
    results = read_results(HERE)
    for name in only or MODELS:
        if added:
            found = [*results.get(name, []), *quiet_rounds(name, [*PLAIN, OURS, *added], wanted)]
        else:
            found = measure(name, wanted, min(wanted, whole))
        if found:
            results[name] = found
        else:
            print(f"{name}: no round was quiet", flush=True)
        write_results(HERE, results)
        write_table(HERE, [*HEAD, *(line for each in MODELS if each in results for line in rows(each, results[each]))])


def panels() -> list[Panel]:
    """Return one panel per model: throughput to plain PyTorch at its best."""
    drawn = []
    for name, found in read_results(HERE).items():
        lines: dict[str, list[float]] = {}
        for each in found:
            best = min(each[plain] for plain in PLAIN)
            for arm, seconds in each.items():
                lines.setdefault(arm, []).append(best / seconds)
        drawn.append(Panel(f"{name}: throughput to plain PyTorch at its best", lines, {OURS: MODELS[name].target}))
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--only", choices=list(MODELS), nargs="*", default=[], help="measure these models")
    options.add_argument("--rounds", type=int, default=ROUNDS, help="number of quiet rounds (default: %(default)s)")
    options.add_argument(
        "--whole", type=int, default=ROUNDS, help="rounds with all arms, not only plain and akkordeon (default: all)"
    )
    others = [arm for arm in ARMS if arm not in (*PLAIN, OURS)]
    options.add_argument("--add", choices=others, nargs="+", default=[], help="add rounds of these arms to the results")
    options.add_argument("--figure", action="store_true", help="draw figure.svg from results.json; measure nothing")
    options.add_argument("--arm", metavar="'MODEL ARM'", help="measure this alone, in this process; print JSON")
    chosen = options.parse_args(arguments)
    if chosen.arm:
        name, _, arm = chosen.arm.partition(" ")
        print(json.dumps({"seconds": median(ARMS[arm](name))}))
    elif chosen.figure:
        draw(HERE, panels())
    else:
        measure_all(chosen.only, chosen.rounds, chosen.whole, chosen.add)
