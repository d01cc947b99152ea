"""The core's figures: throughput against a plain loop, what the engine costs, and memory over 50,000 batches.

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
import statistics
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
from akkordeon.bench.apart import of_the_median, rounds, run_apart
from akkordeon.engines import Threads

sys.path.append(str(Path(__file__).parents[1] / "prediction"))
from watched import WatchedThreads

HERE = Path(__file__).parent
ROUNDS = 7
BATCH = 1024
BATCHES = 60
EPOCHS = 12

HOPS = 200_000
WORKERS, GATES, IN_FLIGHT = 2, 6, 12
"""Of the network whose workers are watched: twice as many batches in flight as gates are enough."""

SIZE, WATCHED, WARM_UP, LAST = 256, 50, 2, 6
"""Of its layers, batches of an epoch, and epochs before and with those that count."""


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
    """Microseconds from the handler of one actor to that of the next, with one message on its way.

    Args:
        computes: each of them asks for a computation, and passes the message on after it.
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
    """Share of their time that two workers have something to do, on a chain of six equal gates."""
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
        if what != "wake" and not name.startswith("provider")  # which has a thread of its own
    )
    return {"share": took / seconds / WORKERS}


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
    "hop, computing": partial(hop, computes=True),
    "busy": busy,
    "memory": memory,
}
TIMED = list(ARMS)[:5]


def ratio_row(name: str, ratios: list[float], target: str) -> str:
    spread = f"{min(ratios):.2f} - {max(ratios):.2f}"
    return f"| {name} | {statistics.median(ratios):.2f} | {spread} | {target} |"


def main() -> None:
    counted = rounds(__file__, TIMED, ROUNDS)
    seconds = [{arm: figures["seconds"] for arm, figures in each.items()} for each in counted]
    best = [min(each["plain, 1 thread"], each["plain, 2 threads"]) for each in seconds]
    ratios = {arm: [b / each[arm] for b, each in zip(best, seconds, strict=True)] for arm in TIMED}
    alone = [each["plain, 1 thread"] / each["in_flight=1"] for each in seconds]
    hops = of_the_median([run_apart(__file__, "hop")[0]["microseconds"] for _ in range(ROUNDS)])
    computing = of_the_median([run_apart(__file__, "hop, computing")[0]["microseconds"] for _ in range(ROUNDS)])
    share = of_the_median([run_apart(__file__, "busy")[0]["share"] for _ in range(ROUNDS)])
    growth = run_apart(__file__, "memory")[0]["megabytes"]
    lines = [
        f"784-50-20-10, batch {BATCH}, SGD, {len(counted)} rounds; ratio of throughputs, above 1 is faster than plain.",
        "",
        "| what | median | min - max | target |",
        "| --- | --- | --- | --- |",
        ratio_row("one batch in flight, to plain with one thread", alone, ">= 0.85"),
        ratio_row("four in flight, to the better plain loop", ratios["in_flight=4"], ">= 0.75"),
        ratio_row("four in flight, two computations, likewise", ratios["in_flight=4, computations=2"], ""),
        "| hop on the threads engine, microseconds | {:.1f} | {:.1f} - {:.1f} | <= 5 |".format(*hops),
        "| hop with a computation, likewise | {:.1f} | {:.1f} - {:.1f} | <= 10 |".format(*computing),
        "| share of their time that workers are busy, enough in flight | {:.3f} | {:.3f} - {:.3f} | >= 0.97 |".format(
            *share
        ),
        f"| memory, MB per 10,000 batches | {growth:.2f} | | < 1 |",
    ]
    figures = {"rounds": seconds, "hop": hops, "hop, computing": computing, "busy": share, "memory": growth}
    (HERE / "table.md").write_text("\n".join(lines) + "\n")
    (HERE / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=list(ARMS), help="run this arm alone, in this process")
    chosen = parser.parse_args().arm
    if chosen:
        print(json.dumps(ARMS[chosen]()))
    else:
        main()
