"""Compares throughput on Ray and on threads: one sentinel on a convolutional network, and chains of gates of any size.

Both sentinels have equally many batches in flight. The first epochs do not count: processes warm up and the network
fills.

Examples:
  python -m benchmarks.ray_throughput                      # some minutes; writes results.json and table.md
  python -m benchmarks.ray_throughput --arm fashion-ray    # one arm, in this process; prints JSON
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.datasets import Images, Loader
from akkordeon.engines import Ray, Threads
from akkordeon.errors import DataUnavailable
from akkordeon.recipes import fashion_mnist
from benchmarks.common.apart import paired_ratio, run_apart
from benchmarks.common.claims import parser, table, write_results, write_table

HERE, PACKAGE = Path(__file__).parent, "benchmarks.ray_throughput"


BATCH = 256
IN_FLIGHT = 4
EPOCHS, WARM_UP = 6, 2
BATCHES = 20
"""Per epoch of Fashion-MNIST: some two seconds."""

SIZES = {64: 200, 256: 150, 1024: 40, 2048: 12}
"""Features of a gate, and batches per epoch of such gates."""

ROUNDS = 2
"""Bursts of each engine per size; on Ray, each takes seconds to start."""

RUNS = 3
"""Fresh processes per engine for Fashion-MNIST, in turns."""


def fashion(engine: Engine) -> dict[str, float | str]:
    """Return the throughput of the recipe on an engine, and the name of its data."""
    made_up = not _can_fetch()
    data = invented if made_up else partial(fashion_mnist.batches, "train", slice(BATCH * BATCHES), BATCH)
    gates = fashion_mnist.gates(computations=1)  # one core per gate is all that a small machine has
    with ak.launch(gates, engine=engine) as network:
        sentinel = ak.TrainingSentinel("train", data, fashion_mnist.loss, in_flight=IN_FLIGHT, epochs=EPOCHS)
        rate = BATCH / seconds_per_batch(network, sentinel, WARM_UP, BATCHES)
    return {"samples per second": rate, "data": "random numbers" if made_up else "Fashion-MNIST"}


def invented() -> Loader:
    """Return random images of the shape of Fashion-MNIST."""
    num = BATCH * BATCHES
    pixels = torch.randint(0, 256, (num, 28, 28), dtype=torch.uint8)
    return Loader(Images(pixels, torch.randint(0, 10, (num,))), BATCH, shuffle=True)


def _can_fetch() -> bool:
    try:
        fashion_mnist.batches("train", slice(1))
    except DataUnavailable:
        return False
    return True


def seconds_per_batch(network: ak.Network, sentinel: ak.TrainingSentinel, warm_up: int, batches: int) -> float:
    """Run a sentinel to its end; return the seconds per batch after the first epochs."""
    network.attach(sentinel)
    came = [time.perf_counter() for _ in network.watch()]
    return (came[-1] - came[warm_up - 1]) / ((len(came) - warm_up) * batches)


def sizes() -> dict[str, dict[str, list[float]]]:
    """Return seconds per batch of each burst, by size, then by "threads" and "ray", which take turns."""
    cluster = Ray(spares=0)  # one for all networks
    try:
        return {str(size): _of_size(cluster.address, size) for size in SIZES}
    finally:
        cluster.close()


def _of_size(address: str, size: int) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {"threads": [], "ray": []}
    with (
        ak.launch(chain(size), engine=Threads()) as near,
        ak.launch(chain(size), engine=Ray(address, name=f"of {size}", spares=0)) as far,
    ):
        for number in range(ROUNDS):
            for arm, network in (("threads", near), ("ray", far)):
                data = partial(random_batches, size, SIZES[size])
                name = f"train {number}"
                sentinel = ak.TrainingSentinel(name, data, mse_loss, in_flight=IN_FLIGHT, epochs=3)
                took[arm].append(seconds_per_batch(network, sentinel, 1, SIZES[size]))
    print(f"gates of {size}:", took, file=sys.stderr, flush=True)
    return took


def chain(size: int) -> list[ak.Gate]:
    return [ak.Gate(name, nn.Linear(size, size), partial(SGD, lr=1e-3)) for name in ("stem", "head")]


def random_batches(size: int, batches: int) -> Iterator[tuple[Tensor, Tensor]]:
    x, target = torch.rand(2, BATCH, size)
    for _ in range(batches):
        yield x.clone(), target.clone()


ARMS: dict[str, Callable[[], Any]] = {
    "fashion-threads": lambda: fashion(Threads()),
    "fashion-ray": lambda: fashion(Ray()),
    "sizes": sizes,
}


def measure() -> dict[str, Any]:
    """Measure all arms, each in fresh processes."""
    runs: dict[str, list[Any]] = {"threads": [], "ray": []}
    for _ in range(RUNS):
        for arm, each in runs.items():
            each.append(run_apart(PACKAGE, f"fashion-{arm}")[0])
            print(f"fashion-{arm}:", each[-1], file=sys.stderr, flush=True)
    return {"fashion": runs, "sizes": run_apart(PACKAGE, "sizes")[0]}


def lines(results: dict[str, Any]) -> list[str]:
    """Return the lines of both tables."""
    return [*fashion_table(results["fashion"]).splitlines(), "", *sizes_table(results["sizes"]).splitlines()]


def fashion_table(runs: dict[str, list[Any]]) -> str:
    rates = {arm: [each["samples per second"] for each in of_arm] for arm, of_arm in runs.items()}
    near, far = (f"{median(rates[arm]):.0f}" for arm in ("threads", "ray"))
    network = f"recipe fashion_mnist, {runs['ray'][0]['data']}, batch {BATCH}, {IN_FLIGHT} in flight"
    head = ("samples per second", "threads", "Ray", "ratio (pairs)", "target")
    return table(head, [(network, near, far, paired_ratio(rates["ray"], rates["threads"]), ">= 0.6")])


def sizes_table(by_size: dict[str, dict[str, list[float]]]) -> str:
    rows = []
    for size, each in by_size.items():
        near, far = (f"{median(each[arm]):.4f}" for arm in ("threads", "ray"))
        rows.append((f"n = {size}", near, far, paired_ratio(each["threads"], each["ray"])))
    return table(("two gates, Linear(n, n); seconds per batch", "threads", "Ray", "throughput of Ray"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--arm", choices=list(ARMS), help="measure this alone, in this process; print JSON")
    arm = options.parse_args(arguments).arm
    if arm:
        print(json.dumps(ARMS[arm]()))
        return
    results = measure()
    write_results(HERE, results)
    write_table(HERE, lines(results))
