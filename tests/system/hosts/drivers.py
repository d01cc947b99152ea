"""What a driver of a Ray cluster does on one of its hosts.

Arguments: a task, the address of the cluster, of this host, and of the one that it has to do with.
"""

import socket
import sys
import threading
import time
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import ActorDiedError
from ray.util import get_node_ip_address
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

CALLS = 200

BATCH = np.ones((256, 784), np.float32)
"""0.8 MB."""


class Counter:
    """Counts what it is sent."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, batch: NDArray[np.float32]) -> tuple[str, int, float]:
        """Return the name of this host, how many came so far, and the sum of this one."""
        self._count += 1
        return socket.gethostname(), self._count, float(batch.sum())

    def think(self) -> None:
        """Take longer than any test."""
        threading.Event().wait(600)


def alive() -> dict[str, str]:
    """Return the identities of the nodes that are alive, by their addresses."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeManagerAddress"]: node["NodeID"] for node in nodes if node["Alive"]}


def counter_at(address: str) -> Any:
    """Make a counter on the host that has an address."""
    pinned = NodeAffinitySchedulingStrategy(alive()[address], soft=False)
    return ray.remote(Counter).options(num_cpus=0, scheduling_strategy=pinned).remote()


def tell() -> None:
    """Tell who this host is, and who else is in the cluster."""
    print(get_node_ip_address(), *sorted(alive()))  # type: ignore[no-untyped-call]


def measure(counter: Any) -> None:
    """Send batches one after the other, and tell where they arrived."""
    first = ray.get(counter.add.remote(BATCH))
    start = time.perf_counter()
    for _ in range(CALLS):
        last = ray.get(counter.add.remote(BATCH))
    print(f"{(time.perf_counter() - start) / CALLS * 1000:.2f} ms per call")
    print(*first, "to", *last)


def send(counter: Any) -> None:
    """Send batches one after the other, without end, and tell how many arrived."""
    while True:
        print(ray.get(counter.add.remote(BATCH))[1], flush=True)


def wait(counter: Any) -> None:
    """Make a call that does not return, and tell what comes of it."""
    ray.get(counter.add.remote(BATCH))
    call = counter.think.remote()
    print("waiting", flush=True)
    start = time.perf_counter()
    try:
        ray.get(call)
    except ActorDiedError:
        print(f"ActorDiedError after {time.perf_counter() - start:.1f} s")


def main(task: str, cluster: str, mine: str, other: str) -> None:
    """Join the cluster, and do something with the host that has the address `other`."""
    ray.init(address=cluster, _node_ip_address=mine, namespace="hosts", log_to_driver=False)
    if task == "tell":
        tell()
    else:
        {"measure": measure, "send": send, "wait": wait}[task](counter_at(other))


if __name__ == "__main__":
    main(*sys.argv[1:])
