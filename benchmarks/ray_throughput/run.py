"""Samples per second of one training sentinel, on Ray and on threads; and the size of gates from which Ray pays.

    python benchmarks/ray/main.py --arm fashion-threads   # prints JSON: samples per second
    python benchmarks/ray/main.py --arm fashion-ray
    python benchmarks/ray/main.py --arm sizes             # prints JSON: seconds per batch of each burst

Both sentinels have equally many batches in flight. The first epochs do not count: processes warm up, and the network
fills.
"""

import sys
import time
from collections.abc import Iterator
from functools import partial

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

__all__ = ["BATCH", "IN_FLIGHT", "SIZES", "fashion", "sizes"]

BATCH = 256
IN_FLIGHT = 4
EPOCHS, WARM_UP = 6, 2
BATCHES = 20
"""In an epoch of Fashion-MNIST: some two seconds."""

SIZES = {64: 200, 256: 150, 1024: 40, 2048: 12}
"""Numbers that a gate takes and gives, and batches in an epoch of such gates."""

ROUNDS = 2
"""Bursts of each engine for a size; on Ray, each takes seconds to begin."""


def fashion(engine: Engine) -> dict[str, float | str]:
    """Return the throughput of the recipe on an engine, and which data it was fed with."""
    made_up = not _can_fetch()
    data = invented if made_up else partial(fashion_mnist.batches, "train", slice(BATCH * BATCHES), BATCH)
    gates = fashion_mnist.gates(computations=1)  # a core for each gate is as much as there is
    with ak.launch(gates, engine=engine) as network:
        sentinel = ak.TrainingSentinel("train", data, fashion_mnist.loss, in_flight=IN_FLIGHT, epochs=EPOCHS)
        rate = BATCH / seconds_per_batch(network, sentinel, WARM_UP, BATCHES)
    return {"samples per second": rate, "data": "random numbers" if made_up else "Fashion-MNIST"}


def invented() -> Loader:
    """Random numbers, of the shape of Fashion-MNIST."""
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
    """Attach a sentinel, let it end, and return how long a batch took after so many epochs."""
    network.attach(sentinel)
    came = [time.perf_counter() for _ in network.watch()]
    return (came[-1] - came[warm_up - 1]) / ((len(came) - warm_up) * batches)


def sizes() -> dict[str, dict[str, list[float]]]:
    """Return seconds per batch of each burst, by size, then "threads" and "ray", which take turns."""
    cluster = Ray(spares=0)  # begun once, for all networks
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
