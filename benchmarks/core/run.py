"""Compares the core with a plain PyTorch loop: throughput, cost of a hop, busy workers, and memory over 50,000 batches.

Each arm runs in a fresh process, and the arms of a round run one after the other, so that drift of the machine affects
all of them. The figure of an arm is its fastest epoch: a disturbance only ever slows it down. A round is void if other
processes used more than 5 % of the CPU. The baseline is the faster of plain PyTorch loops with one and with two
intra-op threads.

Examples:
  python -m benchmarks.core                 # everything, about eight minutes; writes results.json and table.md
  python -m benchmarks.core --arm hop       # one arm, in this process; prints JSON
"""

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Actor, Context, Ref
from akkordeon.engines import Threads
from benchmarks.common.apart import of_the_median, rounds, run_apart
from benchmarks.common.claims import parser, write_results, write_table
from benchmarks.common.watched import WatchedThreads

HERE, PACKAGE = Path(__file__).parent, "benchmarks.core"
ROUNDS = 7
BATCH = 1024
BATCHES = 60
EPOCHS = 12

HOPS = 200_000
WORKERS, GATES, IN_FLIGHT = 2, 6, 12
"""Of the network whose workers are timed: twice as many batches in flight as gates keep all of them busy."""

SIZE, WATCHED, WARM_UP, LAST = 256, 50, 2, 6
"""Width of its layers, batches of an epoch, epochs of warm-up, and the last epoch that counts."""


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


def hop(*, computes: bool = False) -> dict[str, float]:
    """Return microseconds from the handler of one actor to that of the next, with one message on its way.

    Args:
        computes: each actor asks for a computation and passes the message on after it.
    """
    done = threading.Event()

    class Player(Actor):
        peer: Ref

        def receive(self, message: object, context: Context) -> object:
            if not isinstance(message, int):
                self.peer = message  # type: ignore[assignment]
            elif computes:
                context.compute(partial(int, message), self.passes_on)
            else:
                self.passes_on(message)
            return None

        def passes_on(self, left: int) -> None:
            if left:
                self.peer.tell(left - 1)
            else:
                done.set()

    engine = Threads()
    players = [engine.spawn(name, Player) for name in ("ping", "pong")]
    for player, peer in zip(players, reversed(players), strict=True):
        player.tell(peer)
    began = time.perf_counter()
    players[0].tell(HOPS)
    if not done.wait(120):
        raise TimeoutError(f"{HOPS} hops did not end within two minutes")
    seconds = time.perf_counter() - began
    engine.close()
    return {"microseconds": seconds / HOPS * 1e6}


def busy() -> dict[str, float]:
    """Return the share of time in which two workers are busy, on a chain of six equal gates."""
    gates = [
        ak.Gate(f"g{n}", nn.Sequential(nn.Linear(SIZE, SIZE), nn.ReLU()), partial(SGD, lr=0.01)) for n in range(GATES)
    ]
    data = [(torch.rand(BATCH, SIZE), torch.rand(BATCH, SIZE)) for _ in range(WATCHED)]
    sentinel = ak.TrainingSentinel("train", lambda: data, mse_loss, in_flight=IN_FLIGHT, epochs=LAST + 1)
    engine = WatchedThreads(WORKERS)
    with ak.launch(gates, engine=engine) as network:
        network.attach(sentinel)
        for report in network.watch():
            if report.epoch == WARM_UP:
                began, engine.counts = time.perf_counter(), True
            if report.epoch == LAST:
                seconds, engine.counts = time.perf_counter() - began, False
                break
    took = sum(
        sum(each for _, each in seen)
        for (what, name, _), seen in engine.samples.items()
        if what != "wake" and not name.startswith("provider")  # a provider has a thread of its own
    )
    return {"share": took / seconds / WORKERS}


def memory() -> dict[str, float]:
    """Return the growth of the resident set over 40,000 batches of a tiny network, after 10,000, in MB per 10,000."""
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
    "hop, computing": partial(hop, computes=True),
    "busy": busy,
    "memory": memory,
}
TIMED = list(ARMS)[:5]


def measure() -> dict[str, Any]:
    """Measure all arms, each in fresh processes."""

    def apart(arm: str, unit: str) -> tuple[float, float, float]:
        return of_the_median([run_apart(PACKAGE, arm)[0][unit] for _ in range(ROUNDS)])

    counted = rounds(PACKAGE, TIMED, ROUNDS)
    return {
        "rounds": [{arm: figures["seconds"] for arm, figures in each.items()} for each in counted],
        "hop": apart("hop", "microseconds"),
        "hop, computing": apart("hop, computing", "microseconds"),
        "busy": apart("busy", "share"),
        "memory": run_apart(PACKAGE, "memory")[0]["megabytes"],
    }


def lines(results: dict[str, Any]) -> list[str]:
    """Return the lines of the table."""
    seconds = results["rounds"]
    best = [min(each["plain, 1 thread"], each["plain, 2 threads"]) for each in seconds]
    ratios = {arm: [b / each[arm] for b, each in zip(best, seconds, strict=True)] for arm in TIMED}
    alone = [each["plain, 1 thread"] / each["in_flight=1"] for each in seconds]
    busy = "| share of time in which workers are busy, enough batches in flight | {:.3f} | {:.3f} - {:.3f} | >= 0.97 |"
    return [
        f"784-50-20-10, batch {BATCH}, SGD, {len(seconds)} rounds; ratio of throughputs, above 1 is faster than plain.",
        "",
        "| figure | median | min - max | target |",
        "| --- | --- | --- | --- |",
        ratio_row("one batch in flight, to plain with one thread", alone, ">= 0.85"),
        ratio_row("four in flight, to the faster plain loop", ratios["in_flight=4"], ">= 0.75"),
        ratio_row("four in flight and two computations, to the same", ratios["in_flight=4, computations=2"], ""),
        "| hop on the threads engine, microseconds | {:.1f} | {:.1f} - {:.1f} | <= 5 |".format(*results["hop"]),
        "| hop with a computation, microseconds | {:.1f} | {:.1f} - {:.1f} | <= 10 |".format(
            *results["hop, computing"]
        ),
        busy.format(*results["busy"]),
        f"| memory, MB per 10,000 batches | {results['memory']:.2f} | | < 1 |",
    ]


def ratio_row(name: str, ratios: list[float], target: str) -> str:
    return f"| {name} | {median(ratios):.2f} | {min(ratios):.2f} - {max(ratios):.2f} | {target} |"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--arm", choices=list(ARMS), help="measure this arm alone, in this process; print JSON")
    arm = options.parse_args(arguments).arm
    if arm:
        print(json.dumps(ARMS[arm]()))
        return
    results = measure()
    write_results(HERE, results)
    write_table(HERE, lines(results))
