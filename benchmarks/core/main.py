"""The core's figures: throughput against a plain loop, what a hop costs, and memory over 50,000 batches.

Each arm runs in a fresh process, and the arms of a round run one after the other, so that a machine that wanders
wanders under all of them. An arm's figure is its fastest epoch: what disturbs a run only ever slows it. A round is
void if other processes took more than 5 % of the CPU. The baseline is the better of a plain PyTorch loop with one and
with two intra-op threads.

    python benchmarks/core/main.py                 # everything; writes table.md and figures.json beside this file
    python benchmarks/core/main.py --arm hop       # one arm, in this process; prints JSON
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Actor, Context, Ref
from akkordeon.engines import Threads

HERE = Path(__file__).parent
ROUNDS = 7
BATCH = 1024
BATCHES = 60
EPOCHS = 12
FOREIGN = 0.05
"""Share of the CPU that others may take before a round is void."""


def network_parts() -> list[nn.Module]:

    return [
        nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.ReLU()),
        nn.Sequential(nn.Linear(50, 20), nn.ReLU()),
        nn.Linear(20, 10),
    ]


def batches() -> Callable[[], Iterator[Any]]:

    torch.manual_seed(0)
    x, target = torch.rand(BATCHES * BATCH, 784), torch.randint(0, 10, (BATCHES * BATCH,))
    return lambda: iter(zip(torch.split(x, BATCH), torch.split(target, BATCH), strict=True))


def plain(threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    data = batches()
    model = torch.nn.Sequential(*network_parts())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    seconds = []
    for _ in range(EPOCHS):
        began = time.perf_counter()
        for x, target in data():
            optimizer.zero_grad()
            loss = cross_entropy(model(x), target)
            torch.autograd.backward(loss)
            optimizer.step()
            loss.item()
        seconds.append(time.perf_counter() - began)
    return {"seconds": min(seconds[2:])}


def actors(in_flight: int, computations: int) -> dict[str, float]:
    data = batches()
    gates = [
        ak.Gate(name, part, partial(SGD, lr=0.01), computations=computations)
        for name, part in zip(("stem", "body", "head"), network_parts(), strict=True)
    ]
    with ak.launch(gates) as network:
        network.attach(ak.TrainingSentinel("train", data, cross_entropy, in_flight=in_flight))
        seconds = []
        for report in network.watch():
            seconds.append(time.perf_counter())
            if report.epoch == EPOCHS + 1:
                break
    return {"seconds": min(b - a for a, b in itertools.pairwise(seconds[1:]))}


def hop() -> dict[str, float]:
    """Microseconds from the handler of one actor to that of the next, with one message on its way."""
    done = threading.Event()

    class Player(Actor):
        peer: Ref

        def receive(self, message: object, context: Context) -> object:  # noqa: ARG002
            if not isinstance(message, int):
                self.peer = message  # type: ignore[assignment]
            elif message:
                self.peer.tell(message - 1)
            else:
                done.set()
            return None

    engine = Threads()
    players = [engine.spawn(name, Player) for name in ("ping", "pong")]
    for player, peer in zip(players, reversed(players), strict=True):
        player.tell(peer)
    hops = 200_000
    began = time.perf_counter()
    players[0].tell(hops)
    done.wait(60)
    seconds = time.perf_counter() - began
    engine.close()
    return {"microseconds": seconds / hops * 1e6}


def memory() -> dict[str, float]:
    """Growth of the resident set over 40,000 batches of a tiny network, after the first 10,000, in MB per 10,000."""
    x, target = torch.rand(4, 8), torch.rand(4, 1)
    gates = [
        ak.Gate("stem", nn.Linear(8, 8), partial(SGD, lr=0.01), ak.DelayCompensation()),
        ak.Gate("head", nn.Linear(8, 1), partial(SGD, lr=0.01), ak.DelayCompensation()),
    ]
    resident = []
    with ak.launch(gates) as network:
        data = partial(lambda: ((x.clone(), target.clone()) for _ in range(10_000)))
        network.attach(ak.TrainingSentinel("train", data, mse_loss, in_flight=4, epochs=5))
        for _ in network.watch():
            fields = Path("/proc/self/statm").read_text().split()
            resident.append(int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
    return {"megabytes": (resident[-1] - resident[0]) / (len(resident) - 1)}


ARMS: dict[str, Callable[[], dict[str, float]]] = {
    "plain, 1 thread": partial(plain, 1),
    "plain, 2 threads": partial(plain, 2),
    "in_flight=1": partial(actors, 1, 1),
    "in_flight=4": partial(actors, 4, 1),
    "in_flight=4, computations=2": partial(actors, 4, 2),
    "hop": hop,
    "memory": memory,
}
TIMED = list(ARMS)[:5]


def run_apart(arm: str) -> tuple[dict[str, float], float]:
    """Run an arm in a process of its own; return its figures and the share of the CPU that others took."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    before, own = busy(), own_cpu()
    began = time.monotonic()
    command = [sys.executable, __file__, "--arm", arm]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    capacity = (time.monotonic() - began) * (os.cpu_count() or 1)
    foreign = (busy() - before - (own_cpu() - own)) / capacity
    return json.loads(out.splitlines()[-1]), foreign


def busy() -> float:
    """CPU seconds that all processes took since the machine started, steal included."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure_rounds() -> list[dict[str, float]]:
    rounds: list[dict[str, float]] = []
    for number in range(3 * ROUNDS):
        results = {arm: run_apart(arm) for arm in TIMED}
        disturbed = max(foreign for _, foreign in results.values())
        seconds = {arm: figures["seconds"] for arm, (figures, _) in results.items()}
        verdict = "void" if disturbed > FOREIGN else "counts"
        print(f"round {number + 1}: others took {disturbed:.1%}: {verdict}", seconds, file=sys.stderr)
        if disturbed <= FOREIGN:
            rounds.append(seconds)
        if len(rounds) == ROUNDS:
            break
    return rounds


def ratio_row(name: str, ratios: list[float], target: str) -> str:
    spread = f"{min(ratios):.2f} - {max(ratios):.2f}"
    return f"| {name} | {statistics.median(ratios):.2f} | {spread} | {target} |"


def main() -> None:
    rounds = measure_rounds()
    best = [min(each["plain, 1 thread"], each["plain, 2 threads"]) for each in rounds]
    ratios = {arm: [b / each[arm] for b, each in zip(best, rounds, strict=True)] for arm in TIMED}
    alone = [each["plain, 1 thread"] / each["in_flight=1"] for each in rounds]
    hops = run_apart("hop")[0]["microseconds"]
    growth = run_apart("memory")[0]["megabytes"]
    lines = [
        f"784-50-20-10, batch {BATCH}, SGD, {len(rounds)} rounds; throughput as a ratio, above 1 is faster than plain.",
        "",
        "| what | median | min - max | target |",
        "| --- | --- | --- | --- |",
        ratio_row("one batch in flight, to plain with one thread", alone, ">= 0.85"),
        ratio_row("four in flight, to the better plain loop", ratios["in_flight=4"], ">= 0.75"),
        ratio_row("four in flight, two computations, likewise", ratios["in_flight=4, computations=2"], ""),
        f"| hop on the threads engine, microseconds | {hops:.1f} | | <= 10 |",
        f"| memory, MB per 10,000 batches | {growth:.2f} | | < 1 |",
    ]
    (HERE / "table.md").write_text("\n".join(lines) + "\n")
    (HERE / "figures.json").write_text(json.dumps({"rounds": rounds, "hop": hops, "memory": growth}, indent=2) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=list(ARMS), help="run this arm alone, in this process")
    chosen = parser.parse_args().arm
    if chosen:
        print(json.dumps(ARMS[chosen]()))
    else:
        main()
