"""Runs a network on the simulation, with measured costs, on any machines and links.

Each gate, and each sentinel with its provider, has a processor of its own. The benchmark wires the gates and starts the
sentinels itself: a conductor writes to all gates whenever another one has started, the square of their number.
"""

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import akkordeon as ak
from akkordeon.actor import Ref
from akkordeon.engines import Delays, Stepped
from akkordeon.gate.actor import GateActor
from akkordeon.gate.copies import Copying
from akkordeon.messages.leases import Chain, Lease, MessageNumber, Orders, Wire
from akkordeon.sentinel.training import TrainingActor
from benchmarks.common.chain import MESSAGE_BYTES
from benchmarks.common.costs import Table, role
from benchmarks.growth_simulated.formulas import Link
from benchmarks.growth_simulated.stand_ins import Census, StandIn

COPIES = Copying(every=10**12, share=0.001)
"""Updates and share of time between copies: gates never send any."""

FOR_EVER = 1e9
"""A time limit, in seconds."""


@dataclass(frozen=True)
class Point:
    """A network to simulate.

    Args:
        gates: how many.
        in_flight: of each sentinel.
        sentinels: how many.
        latency: seconds; None means one process, where a hop takes the measured time.
        megabits: per second, of each link in each direction.
        heavier: factor on the measured time of computations of gates.
        spread: of the time of computations: standard deviation of its logarithm.
        rounds: how often all batches in flight come back while it counts; the time before is one more.
    """

    gates: int
    in_flight: int
    sentinels: int = 1
    latency: float | None = None
    megabits: float = math.inf
    heavier: float = 1.0
    spread: float = 0.0
    rounds: float = 3.0

    def link(self, table: Table) -> Link:
        """Return the cost of links between gates."""
        if self.latency is None:
            return Link(table["hop"])
        return Link(self.latency, 8 * MESSAGE_BYTES / (1e6 * self.megabits))

    def draw(self, source: random.Random, mean: float) -> float:
        """Return the seconds of one computation, given the average."""
        return mean * math.exp(source.gauss(-(self.spread**2) / 2, self.spread)) if self.spread else mean


class Links:
    """Delays of messages: a link carries one after the other, in each direction.

    Only messages with tensors occupy it: all between gates, and between sentinels and gates all but the notice of the
    first gate that a batch is done.
    """

    def __init__(self, link: Link, last: str, clock: Callable[[], float]) -> None:
        self._link = link
        self._last = last
        self._clock = clock
        self._free: dict[tuple[str, str], float] = {}

    def __call__(self, source: random.Random, sender: str, receiver: str) -> float:  # noqa: ARG002 - nothing is drawn
        """Return the seconds of a message that is sent now."""
        now = self._clock()
        if not self._link.transfer or (role(receiver) == "sentinel" and sender != self._last):
            return self._link.latency
        begins = max(now, self._free.get((sender, receiver), 0.0))
        self._free[sender, receiver] = begins + self._link.transfer
        return begins + self._link.transfer + self._link.latency - now


def simulate(point: Point, table: Table) -> dict[str, float]:
    """Run a network; return its figures after all batches in flight have come back once."""
    torch.set_num_threads(1)
    census = Census("g0", lambda: engine.time)
    links = Links(point.link(table), f"gate g{point.gates - 1}", lambda: engine.time)
    engine = Stepped(0, delays=_delays(point, table, links))
    out = point.in_flight * point.sentinels
    warm, counted = out, max(1, math.ceil(out * point.rounds))
    try:
        _begin(point, census, engine)
        engine.run(until=lambda: len(census.ended) >= warm)
        census.begin()
        engine.run(until=lambda: len(census.ended) >= warm + counted)
    finally:
        engine.close()
    return {
        "batches_per_second": counted / (census.ended[warm + counted - 1] - census.ended[warm - 1]),
        "staleness_first": census.staleness("g0"),
        "staleness_last": census.staleness(f"g{point.gates - 1}"),
        "stashed": census.most_stashed,
        "versions": census.most_versions,
        "steps": engine.steps,
    }


def _delays(point: Point, table: Table, links: Links) -> Delays:
    def turn(source: random.Random, name: str, kind: str) -> float:  # noqa: ARG001
        return table.get(f"turn {role(name)} {kind}", 0.0)

    def work(source: random.Random, name: str, kind: str) -> float:
        return point.draw(source, point.heavier * table.get(f"work {role(name)} {kind}", 0.0))

    return Delays(link=links, turn=turn, work=work)


# The actors


def _begin(point: Point, census: Census, engine: Stepped) -> None:
    conductor = engine.inbox("conductor").ref
    refs = [_gate(engine, number, census) for number in range(point.gates)]
    attached = tuple(range(1, point.sentinels + 1))
    for number, answers in ((1, 0), (2, 1)):  # gates apply nothing before their first heartbeat is answered
        for ref, before, after in zip(refs, [None, *refs], [*refs[1:], None], strict=False):
            ref.tell(_lease(number, answers, conductor, Wire(before, after), attached))
        engine.run(seconds=1.0)
    chain = Chain(refs[0], refs[-1], tuple(f"g{number}" for number in range(point.gates)))
    for number in attached:
        _sentinel(engine, number, point.in_flight, conductor).tell(
            Orders(MessageNumber(1, 1), conductor, term=1, chain=chain, window=point.in_flight)
        )


def _gate(engine: Stepped, number: int, census: Census) -> Ref:
    stand_in: Any = partial(StandIn, census)
    gate = ak.Gate(f"g{number}", nn.Identity())
    return engine.spawn(f"gate g{number}", partial(GateActor, gate, None, (), COPIES, stand_in))


def _lease(number: int, answers: int, conductor: Ref, wire: Wire, attached: tuple[int, ...]) -> Lease:
    return Lease(
        MessageNumber(1, number),
        conductor,
        answers,
        math.inf,
        term=1,
        wire=wire,
        attached=attached,
        newest=attached[-1],
        max_staleness=math.inf,
    )


def _sentinel(engine: Stepped, number: int, in_flight: int, conductor: Ref) -> Ref:
    sentinel = ak.TrainingSentinel(f"s{number}", _batches, _loss, in_flight=in_flight, time_limit=FOR_EVER)
    return engine.spawn(f"sentinel s{number}", partial(TrainingActor, sentinel, conductor, "simulated", number))


def _batches() -> Any:
    return itertools.repeat((torch.zeros(1, 1), torch.zeros(1)))


def _loss(output: Any, target: Any) -> Tensor:  # noqa: ARG001
    total: Tensor = output.sum()
    return total
