"""Networks on the threads engine that grow in gates, batches in flight or sentinels, and their measurement."""

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import akkordeon as ak
from akkordeon.messages.reports import Status
from benchmarks.common.chain import batches, gates, sentinel

SIZES = (1, 2, 4, 8, 16, 32, 64)

WARM, COUNTED = 1.5, 4.0
"""Seconds of warm-up, and of the measurement."""


@dataclass(frozen=True)
class Grown:
    """A network of some size.

    Args:
        gates: how many.
        in_flight: of each sentinel.
        sentinels: how many.
    """

    gates: int = 8
    in_flight: int = 4
    sentinels: int = 1


SWEEPS: dict[str, list[Grown]] = {
    "gates": [Grown(gates=size) for size in SIZES],
    "in flight": [Grown(in_flight=size) for size in SIZES],
    "sentinels": [Grown(in_flight=1, sentinels=size) for size in SIZES],
}


@dataclass(frozen=True)
class _Look:
    time: float
    cpu: float
    updates: list[int]
    lateness: list[float]
    """Staleness of each gate, summed over all its updates."""


def measure(grown: Grown) -> dict[str, float]:
    """Train, and return the figures between two moments."""
    before = _peak()
    launched = time.perf_counter()
    with ak.launch(gates(grown.gates)) as network:
        data = batches()
        for number in range(grown.sentinels):
            network.attach(sentinel(number, grown.in_flight, data))
        begun = time.perf_counter() - launched
        first, last = islice(_looks(network), 2)
    seconds = last.time - first.time
    updates = [b - a for a, b in zip(first.updates, last.updates, strict=True)]
    late = [(b - a) / n for a, b, n in zip(first.lateness, last.lateness, updates, strict=True)]
    return {
        "batches_per_second": updates[0] / seconds,
        "staleness_first": late[0],
        "staleness_last": late[-1],
        "memory_bytes": _peak() - before,
        "cpu_per_gate_and_batch": (last.cpu - first.cpu) / sum(updates),
        "seconds_to_begin": begun,
    }


def _looks(network: ak.Network) -> Iterator[_Look]:
    """Yield the state of the gates after the warm-up, and after the measurement; reports are the clock."""
    due = time.perf_counter() + WARM
    for _ in network.watch():
        if time.perf_counter() >= due:
            yield _look(network.status())
            due = time.perf_counter() + COUNTED


def _look(status: Status) -> _Look:
    late = [gate.staleness.mean * gate.staleness.count for gate in status.gates]
    return _Look(time.perf_counter(), time.process_time(), [gate.version for gate in status.gates], late)


def _peak() -> int:
    """Return the peak memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
