"""Measures restarts of gates: how soon a gate learns again, and the accuracy and time of MNIST with a hundred crashes.

Each run is a process of its own. `recovery` raises a hundred times in the middle of an update, and takes the time until
the same gate, restarted, applies its first gradient. `mnist` trains the recipe; with crashes, it ends a random gate a
hundred times, evenly over the training, as if the process of the gate had died.

Examples:
  python -m benchmarks.faults           # everything, half an hour; writes results.json, table.md and docs/faults.md
  python -m benchmarks.faults --table   # write the tables again from the results
  python -m benchmarks.faults --arm mnist --crashes 100 --seed 0    # one run, in this process; prints JSON
"""

import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.recipes import mnist
from akkordeon.testing import crash
from benchmarks.common.claims import parser, read_results, write_results

HERE, PACKAGE = Path(__file__).parent, "benchmarks.faults"
PAGE = HERE.parent.parent / "docs" / "faults.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
CLEAN = 5
CRASHES = 100
FREELY = ak.Supervision(restarts=100_000, backoff=(0.0,), copy_share=0.01)
"""Ten times as many copies as by default, a sensible choice where gates end every second."""


class Failing(SGD):
    """Raises in the middle of every 50th step, and notes when its gate learns again."""

    every = 50
    steps = 0
    failed: tuple[str, float] | None = None
    recovered: list[float] = []  # noqa: RUF012 - shared by all gates

    def __init__(self, parameters: Any, gate: str, lr: float) -> None:
        super().__init__(parameters, lr=lr)
        self.gate = gate

    def step(self, closure: object = None) -> None:  # type: ignore[override] # noqa: ARG002
        Failing.steps += 1
        if Failing.failed is None and Failing.steps % self.every == 0:
            Failing.failed = (self.gate, time.perf_counter())
            raise OSError("injected")
        super().step()
        if Failing.failed is not None and Failing.failed[0] == self.gate:
            Failing.recovered.append(time.perf_counter() - Failing.failed[1])
            Failing.failed = None


def recovery(crashes: int, seed: int) -> dict[str, Any]:
    """Return seconds from an exception in a gate to its next gradient, 784-50-20-10 with batches of 64."""
    torch.manual_seed(seed)
    sizes = {"stem": (784, 50), "body": (50, 20), "head": (20, 10)}
    gates = [ak.Gate(name, nn.Linear(*size), partial(Failing, gate=name, lr=0.01)) for name, size in sizes.items()]
    x, target = torch.rand(64, 784), torch.randint(0, 10, (64,))

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while len(Failing.recovered) < crashes:
            yield x, target

    with ak.launch(gates, supervision=FREELY) as network:
        network.attach(ak.TrainingSentinel("train", batches, cross_entropy, in_flight=4, epochs=1))
        list(network.watch())
        restarts = network.status().restarts
    seconds = sorted(Failing.recovered[:crashes])
    return {
        "engine": "threads",
        "faults_injected": {"exception": restarts},
        "recovered": len(seconds),
        "seconds_to_recover": {
            "p50": statistics.median(seconds),
            "p95": seconds[round(0.95 * len(seconds)) - 1],
            "max": seconds[-1],
        },
    }


def train_mnist(crashes: int, seed: int) -> dict[str, Any]:
    """Train the MNIST recipe, and end a random gate at regular intervals."""
    torch.manual_seed(seed)
    total = mnist.EPOCHS * 938
    dice = random.Random(seed)  # noqa: S311 - which gate is to end
    with ak.launch(mnist.gates(), supervision=FREELY) as network:
        began = time.monotonic()
        data = partial(mnist.batches, "train", seed=seed)
        network.attach(ak.TrainingSentinel("train", data, mnist.loss, mnist.metrics, in_flight=5, epochs=mnist.EPOCHS))
        injector = threading.Thread(target=inject, args=(network, dice, crashes, total))
        injector.start()
        reports = list(network.watch())
        injector.join()
        seconds = time.monotonic() - began
        status = network.status()
        last = ak.ValidationSentinel("validation", partial(mnist.batches, "validate"), mnist.loss, mnist.metrics)
        network.attach(last)
        (validation,) = network.watch()
    return {
        "engine": "threads",
        "seed": seed,
        "faults_injected": {"crash": status.restarts},
        "batches_done": sum(report.samples for report in reports) // 64,
        "batches_dropped": sum(report.skipped.get("poison", 0) for report in reports),
        "updates_lost": sum(total - gate.version for gate in status.gates),
        "accuracy": validation.metrics["accuracy"],
        "seconds": seconds,
    }


def inject(network: ak.Network, dice: random.Random, crashes: int, total: int) -> None:
    """End a random gate each time that an equal number of batches is done."""
    pause = threading.Event()
    for number in range(1, crashes + 1):
        due = total * number // (crashes + 1)
        while sum(each.done for each in network.status().sentinels if each.name == "train") < due:
            pause.wait(0.005)
        while not crashed(network, dice.choice(["stem", "body", "head"])):
            pause.wait(0.005)


def crashed(network: ak.Network, gate: str) -> bool:
    try:
        crash(network, gate)
    except ak.ActorNotFound:  # it is being restarted
        return False
    return True


ARMS: dict[str, Callable[[int, int], dict[str, Any]]] = {"recovery": recovery, "mnist": train_mnist}


def run_apart(arm: str, crashes: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", PACKAGE, "--arm", arm, "--crashes", str(crashes), "--seed", str(seed)]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(out.splitlines()[-1], file=sys.stderr, flush=True)
    figures: dict[str, Any] = json.loads(out.splitlines()[-1])
    return figures


def measure_all() -> None:
    """Measure all arms, and write results and tables."""
    recovered = run_apart("recovery", CRASHES, 0)
    clean, crashing = [], []
    for seed in range(CLEAN):  # in turns, so that drift of the machine affects both
        clean.append(run_apart("mnist", 0, seed))
        crashing.append(run_apart("mnist", CRASHES, seed))
    write_results(HERE, {"recovery": recovered, "clean": clean, "crashing": crashing})
    write()


def write() -> None:
    """Write `table.md`, and the tables into the page of the documentation."""
    (HERE / "table.md").write_text(tables())
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + tables() + END + rest.split(END)[1])
    print(tables())


def tables() -> str:
    """Return all tables: of threads, of the simulation, and of its rules."""
    soak, rules = (json.loads((HERE / f"{name}.json").read_text()) for name in ("soak", "mutations"))
    cost = (HERE.parent / "protocol_overhead" / "table.md").read_text()
    threads = on_threads(read_results(HERE))
    return f"{threads}\n{simulated(soak)}\n{switched_off(rules)}\nCost where nothing fails: {cost}"


def simulated(soak: dict[str, Any]) -> str:
    """Return the table of `make soak`."""
    runs, faults = soak["runs"], soak["faults_injected"]
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(faults.items(), key=lambda each: -each[1]))
    recovery = soak["seconds_to_recover"]
    cells = [
        ("simulation", "measured", "target"),
        ("---", "---", "---"),
        ("networks under faults", f"{runs:,}", "100,000"),
        ("batches done; resent; dropped with a reason", _batches(soak), ""),
        ("broken promises: batches lost or applied twice, entries left behind, …", "0", "0"),
        ("gradients that arrived twice, and were applied once", f"{soak['dedup_hits']:,}", ""),
        (f"faults per network, of {len(faults)} kinds", f"{sum(faults.values()) / runs:.0f}", ">= 3"),
        ("faults by kind", kinds, ""),
        ("gates restarted; updates lost with each", _replaced(soak), ""),
        ("virtual seconds from the end of a gate to its next batch", "p50 {p50}, p95 {p95}".format(**recovery), ""),
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def _batches(soak: dict[str, Any]) -> str:
    dropped = sum(soak["batches_dropped"].values())
    return f"{soak['batches_done']:,}; {soak['batches_resent']:,}; {dropped:,}"


def _replaced(soak: dict[str, Any]) -> str:
    return f"{soak['replacements']:,}; {soak['updates_lost'] / soak['replacements']:.1f}"


def switched_off(rules: dict[str, int]) -> str:
    """Return the table of the rules of the protocol; the simulation must fail if one is switched off."""
    head = "| rule, switched off | networks until the simulation fails, at most 200 |\n| --- | --- |\n"
    return head + "".join(f"| {rule} | {seeds} |\n" for rule, seeds in rules.items())


def on_threads(figures: dict[str, Any]) -> str:
    """Return the table of all figures."""
    clean, crashing = figures["clean"], figures["crashing"]
    accuracies = [[100 * run["accuracy"] for run in runs] for runs in (clean, crashing)]
    means = [statistics.mean(each) for each in accuracies]
    slower = [crashed["seconds"] / quiet["seconds"] for quiet, crashed in zip(clean, crashing, strict=True)]
    lost = statistics.mean(run["updates_lost"] / run["faults_injected"]["crash"] for run in crashing)
    took = {name: f"{1000 * value:.0f} ms" for name, value in figures["recovery"]["seconds_to_recover"].items()}
    spreads = [f"{min(each):.2f} - {max(each):.2f}" for each in accuracies]
    times = f"{statistics.median(slower):.2f} ({min(slower):.2f} - {max(slower):.2f})"
    dropped = sum(run["batches_dropped"] for run in crashing)
    cells = [
        ("threads engine", "measured", "target"),
        ("---", "---", "---"),
        (
            f"exception in a gate to its first new gradient, {CRASHES} times",
            f"p50 {took['p50']}, p95 {took['p95']}, max {took['max']}",
            "p95 <= 200 ms",
        ),
        (f"MNIST, mean accuracy of {len(clean)} clean runs", f"{means[0]:.2f} % ({spreads[0]})", ""),
        (f"MNIST, mean accuracy with {CRASHES} crashes", f"{means[1]:.2f} % ({spreads[1]})", "within 0.5 points"),
        (f"time with {CRASHES} crashes to time without", times, ""),
        ("updates of a gate lost per crash, mean; copies may take 1 % of the time", f"{lost:.1f}", ""),
        (f"batches dropped, all {len(crashing)} runs", str(dropped), ""),
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--arm", choices=list(ARMS), help="run this alone, in this process; print JSON")
    options.add_argument("--crashes", type=int, default=CRASHES, help="of the arm (default: %(default)s)")
    options.add_argument("--seed", type=int, default=0, help="of the arm (default: %(default)s)")
    options.add_argument("--table", action="store_true", help="write the tables again from the results")
    chosen = options.parse_args(arguments)
    if chosen.table:
        write()
    elif chosen.arm:
        print(json.dumps(ARMS[chosen.arm](chosen.crashes, chosen.seed)))
    else:
        measure_all()
