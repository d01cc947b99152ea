"""Measures memory on Ray over 10,000 batches: of each process and of the object store, and references that Ray counts.

A sentinel sends small batches, which go by value; then another one sends large ones, which go through the object store.
Each process reports its own memory, in a call of Ray that any of its actors answers.

Example:
  python -m benchmarks.ray_memory    # some minutes; writes results.json and table.md
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Ray
from benchmarks.common.claims import parser, table, write_results, write_table

HERE, PACKAGE = Path(__file__).parent, "benchmarks.ray_memory"


EVERY, SAMPLES = 2000, 5
"""Batches between two samples, and number of samples."""

SMALL, LARGE = 4, 150_000
"""Samples of eight float32 numbers in a batch: 128 bytes, and 4.8 MB, which is more than Ray sends by value."""

LARGE_BATCHES = 60

Look = dict[str, dict[str, int]]
"""Bytes and references, by process."""


def measure() -> dict[str, Any]:
    """Train; return samples after every 2,000 batches, and after the large ones."""
    engine = Ray(spares=0)
    gates = [ak.Gate(name, nn.Linear(8, 8), partial(SGD, lr=0.01)) for name in ("stem", "head")]
    looks: list[Look] = []
    with ak.launch(gates, engine=engine) as network:
        small = partial(batches, SMALL, EVERY)  # one epoch more, so that its process lives to the end
        network.attach(ak.TrainingSentinel("small", small, mse_loss, in_flight=4, epochs=SAMPLES + 1))
        for report in network.watch():
            if report.epoch <= SAMPLES:
                looks.append(look(engine))
                print(f"{report.epoch * EVERY} batches", looks[-1], file=sys.stderr, flush=True)
        large = partial(batches, LARGE, LARGE_BATCHES)
        network.attach(ak.TrainingSentinel("large", large, mse_loss, in_flight=4, epochs=1))
        list(network.watch())
        after = look(engine)
        print("after the large ones", after, file=sys.stderr, flush=True)
    return {"looks": looks, "after large": after}


def batches(size: int, amount: int) -> Iterator[tuple[Tensor, Tensor]]:
    x, target = torch.rand(2, size, 8)
    for _ in range(amount):
        yield x.clone(), target.clone()


def look(engine: Ray) -> Look:
    """Return the memory of each process of a network, by the name of its actor, and of the object store."""
    import ray  # noqa: PLC0415 - reads its settings when it is imported, and the engine has set them

    actors = {int(where.split()[0]): name for name, where in engine.where().items()}
    found = ray.util.list_named_actors(all_namespaces=True)
    handles = [ray.get_actor(each["name"], each["namespace"]) for each in found]
    held: dict[int, dict[str, int]] = dict(
        ray.get([handle.__ray_call__.remote(holds) for handle in handles], timeout=60)
    )
    seen = {actors.get(pid, "warden"): what for pid, what in held.items()}
    own = holds(None)[1]
    return {"driver": own, **seen, "object store": {"bytes": in_store(), "references": 0}}


def holds(host: object) -> tuple[int, dict[str, int]]:  # noqa: ARG001 - Ray passes it
    """Return the id of this process, its private resident bytes, and its number of references to objects of Ray.

    Shared memory is left out: every process maps the object store, which is measured by itself.
    """
    from ray._private import worker  # noqa: PLC0415 - as above; nothing public tells

    process = psutil.Process()
    resident = process.memory_info()
    core: Any = worker.global_worker
    references = len(core.core_worker.get_all_reference_counts())
    return process.pid, {"bytes": resident.rss - resident.shared, "references": references}


def in_store() -> int:
    """Return the bytes in use in the object store."""
    import ray  # noqa: PLC0415 - as above

    name = "object_store_memory"
    there, free = ray.cluster_resources(), ray.available_resources()  # type: ignore[no-untyped-call]
    return int(there[name] - free.get(name, 0))


def lines(results: dict[str, Any]) -> list[str]:
    """Return the lines of the table."""
    looks, after = results["looks"], results["after large"]
    counts = [f"{EVERY * (each + 1):,}" for each in range(len(looks))]
    thousands = EVERY * (len(looks) - 1) / 1000
    rows = []
    for process in looks[0]:
        growth = (looks[-1][process]["bytes"] - looks[0][process]["bytes"]) / 1e6 / thousands
        last = cell(after[process]) if process in after else ""
        rows.append((process, *(cell(each[process]) for each in looks), f"{growth:.2f}", last))
    head = ("MB, references after batches", *counts, "MB per 1,000 (target < 1)", "after large batches")
    return table(head, rows).splitlines()


def cell(held: dict[str, int]) -> str:
    return f"{held['bytes'] / 1e6:.1f}, {held['references']}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser(PACKAGE, __doc__).parse_args(arguments)
    results = measure()
    write_results(HERE, results)
    write_table(HERE, lines(results))
