"""The life of a gate: forward, backward, update, and evaluation in between.

A batch that cannot be computed is refused, and leaves no trace: weights change only in `Learner.learn`, in the actor's
own turn, after everything that can go wrong with a batch has gone right.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from torch import Tensor

from akkordeon.actor import Actor, Context
from akkordeon.differentiate import Gradients, Graph
from akkordeon.errors import BatchRefused
from akkordeon.gate import Gate, own_copy
from akkordeon.learner import Learner
from akkordeon.messages import NOTHING_TO_LEARN, Backward, BatchId, Forward, Refused, Route, Validate
from akkordeon.random_state import Drawn
from akkordeon.replica import Replica, Trained
from akkordeon.signals import Connect, Forget, GateState, GateStatus, StateOf, StatusOf, Wire
from akkordeon.staleness import Arrival
from akkordeon.tree import Tree, describe
from akkordeon.versions import Buffers, Snapshot

T = TypeVar("T")

__all__ = ["GateActor"]


@dataclass(frozen=True, slots=True)
class _Input:
    """What is kept of a batch whose forward will be run again."""

    x: Tree
    buffers: Buffers
    drew: Drawn | None


@dataclass(slots=True)
class _Entry:
    """What a gate keeps of a batch between its forward and its gradient."""

    version: int
    in_flight: int
    saved: Graph | _Input | None = None


@dataclass(slots=True)
class _Tally:
    """Staleness of the updates so far, and gradients that were not applied, by reason."""

    updates: int = 0
    total: int = 0
    largest: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, staleness: int) -> None:
        self.updates += 1
        self.total += staleness
        self.largest = max(self.largest, staleness)


class GateActor(Actor):
    """A gate that lives: an actor around the weights, the optimizer and the batches in between."""

    def __init__(self, gate: Gate, state: GateState | None = None) -> None:
        self._gate = gate
        self._learner = Learner(gate, state)
        self._weights = self._learner.weights
        self._wire = Wire(None, None)
        self._idle: list[Replica] = []
        self._table: dict[BatchId, _Entry] = {}
        self._low: dict[int, int] = {}  # by incarnation of the sentinel, like the next two
        self._gone: set[int] = set()
        self._oldest = 0
        self._tally = _Tally()

    def receive(self, message: object, context: Context) -> object:
        """Handle what neighbours, sentinels and the conductor send."""
        match message:
            case Forward():
                self._forward(message, context)
            case Backward():
                self._backward(message, context)
            case Validate():
                self._validate(message, context)
            case Connect():
                self._connect(message, context)
            case Forget():
                context.in_order(partial(self._forget, message))
            case StatusOf():
                return self._status()
            case StateOf():
                return _caught(partial(self._learner.state, whole=message.whole))
        return None

    def _connect(self, message: Connect, context: Context) -> None:
        self._wire = message.wire
        if not self._idle:
            first = self._learner.module
            modules = [first, *(own_copy(first) for _ in range(self._gate.computations - 1))]
            make = partial(
                Replica,
                random_lock=context.random_lock,
                device=self._learner.device,
                records=self._gate.activations == "recomputed",
                autocast=self._gate.autocast,
            )
            self._idle = [make(module) for module in modules]

    # Forward

    def _forward(self, message: Forward, context: Context) -> None:
        incarnation = message.route.batch.incarnation
        if incarnation < self._oldest or incarnation in self._gone:
            self._tally.skipped["stray"] += 1
            return
        self._forget_below(message.route)
        snapshot, buffers = self._weights.snapshot(), self._weights.buffers
        entry = _Entry(snapshot.version, in_flight=len(self._table))
        self._table[message.route.batch] = entry
        replica = self._idle.pop()
        wants_gradient = self._wire.upstream is not None
        work = partial(replica.train, message.x, snapshot, buffers, wants_gradient=wants_gradient)
        context.compute(partial(_caught, work), partial(self._forwarded, message, entry, replica, buffers))

    def _forwarded(
        self, message: Forward, entry: _Entry, replica: Replica, buffers: Buffers, result: Trained | Exception
    ) -> None:
        self._idle.append(replica)
        if isinstance(result, Exception):
            self._table.pop(message.route.batch, None)
            self._refuse(message.route, describe(message.x), result)
            return
        if buffers:
            self._weights.publish(buffers, result.buffers)
        stashed = self._gate.activations == "stashed"
        entry.saved = result.graph if stashed else _Input(message.x, buffers, result.drew)
        self._send_on(Forward(message.route, result.output))

    # Backward and update

    def _backward(self, message: Backward, context: Context) -> None:
        entry = self._table.pop(message.route.batch, None)
        if entry is None or entry.saved is None:
            self._tally.skipped["stray"] += 1
        elif not message.gradients:
            context.in_order(partial(self._send_back, message, (), NOTHING_TO_LEARN))
        elif isinstance(entry.saved, Graph):
            work = partial(entry.saved.gradients, message.gradients)
            context.compute(partial(_caught, work), partial(self._backwarded, message, entry, None))
        else:
            replica = self._idle.pop()
            work = partial(self._recompute, replica, entry.saved, self._weights.snapshot(), message.gradients)
            context.compute(partial(_caught, work), partial(self._backwarded, message, entry, replica))

    def _recompute(
        self, replica: Replica, saved: _Input, snapshot: Snapshot, gradients: tuple[Tensor | None, ...]
    ) -> Gradients:
        """Run the forward again at other weights, and back through it. The buffers it leaves are thrown away."""
        wants_gradient = self._wire.upstream is not None
        again = replica.train(saved.x, snapshot, saved.buffers, wants_gradient=wants_gradient, replay=saved.drew)
        return again.graph.gradients(gradients)

    def _backwarded(
        self, message: Backward, entry: _Entry, replica: Replica | None, result: Gradients | Exception
    ) -> None:
        if replica is not None:
            self._idle.append(replica)
        if isinstance(result, Exception):
            self._refuse(message.route, "its gradient", result)
            return
        outcome = self._update(result, entry, message.route)
        self._send_back(message, result.of_inputs, outcome)

    def _update(self, result: Gradients, entry: _Entry, route: Route) -> int | str:
        """Apply a gradient to the weights; return its staleness, or why it was not applied."""
        staleness = self._weights.version - entry.version
        arrival = partial(self._arrival, staleness, entry, route)
        outcome = self._learner.learn(result, staleness, arrival)
        if isinstance(outcome, int):
            self._tally.add(staleness)
        elif outcome != NOTHING_TO_LEARN:
            self._tally.skipped[outcome] += 1
        return outcome

    def _arrival(self, staleness: int, entry: _Entry, route: Route) -> Arrival:
        return Arrival(
            staleness=staleness,
            now=self._weights.trainable,
            then=entry.saved.snapshot.trainable if isinstance(entry.saved, Graph) else (),
            version_forward=entry.version,
            version_now=self._weights.version,
            in_flight=entry.in_flight,
            sentinel=route.batch.sentinel,
            batch_size=route.size,
        )

    # Evaluation

    def _validate(self, message: Validate, context: Context) -> None:
        replica = self._idle.pop()
        work = partial(replica.evaluate, message.x, self._weights.snapshot(), self._weights.buffers)
        context.compute(partial(_caught, work), partial(self._validated, message, replica))

    def _validated(self, message: Validate, replica: Replica, result: Tree | Exception) -> None:
        self._idle.append(replica)
        if isinstance(result, Exception):
            self._refuse(message.route, describe(message.x), result)
        else:
            self._send_on(Validate(message.route, result))

    # Neighbours, and what is kept of sentinels

    def _send_on(self, message: Forward | Validate) -> None:
        (self._wire.downstream or message.route.home).tell(message)

    def _send_back(self, message: Backward, gradients: tuple[Tensor | None, ...], outcome: int | str) -> None:
        upstream = self._wire.upstream
        trail = (*message.trail, outcome)
        if upstream is None:
            message.route.home.tell(Backward(message.route, (), trail))
        else:
            upstream.tell(Backward(message.route, gradients, trail))

    def _refuse(self, route: Route, what: str, error: Exception) -> None:
        upstream = self._wire.upstream
        origin = "what the loader yields" if upstream is None else f"the output of {upstream.name}, which comes before"
        refusal = BatchRefused(
            f"gate {self._gate.name!r} cannot compute batch {route.batch}, {what}: {type(error).__name__}: {error}. "
            f"Its weights are untouched. Check {origin}"
        )
        refusal.__cause__ = error
        route.home.tell(Refused(route, refusal))

    def _forget_below(self, route: Route) -> None:
        """Drop what is kept for batches that their sentinel does not wait for any more."""
        incarnation = route.batch.incarnation
        if route.low > self._low.get(incarnation, 0):
            self._low[incarnation] = route.low
            for batch in [b for b in self._table if b.incarnation == incarnation and b.seq < route.low]:
                del self._table[batch]

    def _forget(self, message: Forget) -> None:
        self._gone = {each for each in (*self._gone, message.incarnation) if each >= message.oldest}
        self._oldest = message.oldest
        self._low.pop(message.incarnation, None)
        for batch in [b for b in self._table if b.incarnation == message.incarnation]:
            del self._table[batch]

    def _status(self) -> GateStatus:
        tally = self._tally
        mean = tally.total / tally.updates if tally.updates else 0.0
        skipped = dict(tally.skipped)
        return GateStatus(self._gate.name, self._weights.version, len(self._table), mean, tally.largest, skipped)


def _caught(work: Callable[[], T]) -> T | Exception:
    """Run what may fail without harm to the gate, and return the error as a value."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a module may raise anything
        return error
