"""Simulates GPipe and 1F1B piece by piece, for uneven costs and for links, where no formula is known.

Each gate computes in the order of the schedule, each computation as soon as its input is there.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

from benchmarks.common.costs import Costs
from benchmarks.growth_simulated.formulas import Link

Draw = Callable[[float], float]
"""Returns the seconds of one computation, given the average."""

Schedule = Literal["gpipe", "1f1b"]

Step = Literal["forward", "backward"]


def order(schedule: Schedule, gate: int, gates: int, pieces: int) -> Iterator[Step]:
    """Yield the computations of a gate in order; pieces keep their order both ways."""
    ahead = pieces if schedule == "gpipe" else min(gates - 1 - gate, pieces)
    for _ in range(ahead):
        yield "forward"
    for _ in range(pieces - ahead):
        yield "forward"
        yield "backward"
    for _ in range(ahead):
        yield "backward"


class _Way:
    """Input of a gate from one side: when each piece arrives, and until when the link is occupied."""

    def __init__(self, link: Link, arrived: list[float] | None = None) -> None:
        self._link = link
        self._free = 0.0
        self.arrivals = deque(arrived or ())

    def send(self, now: float) -> None:
        self._free = max(now, self._free) + self._link.transfer
        self.arrivals.append(self._free + self._link.latency)


class _Gate:
    def __init__(self, steps: Iterator[Step], ways: dict[Step, _Way]) -> None:
        self.free = 0.0
        self.ways = ways
        self._steps = steps
        self.next: Step | None = next(steps, None)

    @property
    def ready(self) -> bool:
        return self.next is not None and bool(self.ways[self.next].arrivals)

    def take(self, seconds: float) -> None:
        assert self.next is not None
        self.free = max(self.free, self.ways[self.next].arrivals.popleft()) + seconds
        self.next = next(self._steps, None)


def makespan(
    schedule: Schedule, gates: int, pieces: int, costs: Costs, link: Link, draw: Draw = lambda mean: mean
) -> float:
    """Return the seconds of a batch.

    Args:
        schedule: "gpipe" or "1f1b".
        gates: how many.
        pieces: of the batch.
        costs: on average.
        link: between neighbours.
        draw: the seconds of one computation, from its average.
    """
    chain = [_gate(schedule, gate, gates, pieces, link) for gate in range(gates)]
    ready = deque([0])
    while ready:
        place = ready.popleft()
        gate = chain[place]
        while gate.ready:
            ready.extend(_step(chain, place, costs, draw))
    assert all(gate.next is None for gate in chain)
    return max(gate.free for gate in chain) + costs.update


def _gate(schedule: Schedule, gate: int, gates: int, pieces: int, link: Link) -> _Gate:
    first, last = gate == 0, gate == gates - 1
    forward = _Way(link, [0.0] * pieces if first else [])
    return _Gate(order(schedule, gate, gates, pieces), {"forward": forward, "backward": _Way(Link() if last else link)})


def _step(chain: list[_Gate], place: int, costs: Costs, draw: Draw) -> list[int]:
    """Run the next computation of a gate; return the gates that may go on because of it."""
    gate = chain[place]
    if gate.next == "backward":
        gate.take(draw(costs.backward))
        if place == 0:
            return []
        chain[place - 1].ways["backward"].send(gate.free)
        return [place - 1]
    gate.take(draw(costs.forward))
    if place == len(chain) - 1:  # turns around here
        gate.ways["backward"].send(gate.free)
        return []
    chain[place + 1].ways["forward"].send(gate.free)
    return [place + 1]
