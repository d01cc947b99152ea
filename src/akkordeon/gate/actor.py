"""The life of a gate: forward, backward, update, and evaluation in between.

A batch that cannot be computed is refused, and leaves no trace: weights change only in `Learner.learn`, in the actor's
own turn, after everything that can go wrong with a batch has gone right. What goes wrong there may tear them, so it
ends the actor; the conductor makes another one, from the copy that this one has last handed over.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import TypeVar

from torch import Tensor

from akkordeon.actor import Actor, Context
from akkordeon.errors import BatchRefused, UpdateFailed
from akkordeon.gate.backward import Gradients, Graph
from akkordeon.gate.copies import Copies
from akkordeon.gate.description import Gate
from akkordeon.gate.forward import Replica, Trained
from akkordeon.gate.learner import Learner
from akkordeon.gate.pace import Pace
from akkordeon.gate.pending import Entry, PendingBatches
from akkordeon.gate.random_state import RANDOM_LOCK, Drawn
from akkordeon.gate.updates import norm_of
from akkordeon.gate.versions import Buffers, Snapshot
from akkordeon.messages.batches import (
    ALREADY_APPLIED,
    NOTHING_TO_LEARN,
    TOO_STALE,
    Backward,
    Forward,
    Refused,
    Route,
    Validate,
)
from akkordeon.messages.histogram import Histogram
from akkordeon.messages.leases import Alive, Lease, Wire
from akkordeon.messages.states import GateState, GateStatus, StateOf, StatusOf
from akkordeon.messages.tree import Tree, describe
from akkordeon.staleness import Arrival

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Input:
    """What is kept of a batch whose forward will be run again."""

    x: Tree
    buffers: Buffers
    drew: Drawn | None


_Entry = Entry[Graph | _Input]


@dataclass(slots=True)
class _Tally:
    """Staleness of the updates so far, gradients that were not applied, by reason, and how long computations take."""

    staleness: Histogram = field(default_factory=Histogram)
    skipped: Counter[str] = field(default_factory=Counter)
    pace: Pace = field(default_factory=Pace)


class GateActor(Actor):
    """A gate that lives: an actor around the weights, the optimizer and the batches in between.

    Args:
        gate: describes it.
        state: to go on from; None to begin.
        applied: batches that state holds already; see `Copy`.
        copying: when it hands over a copy: after how many updates, and for what share of its time at most.
        learner: makes what it computes and learns with.
    """

    def __init__(
        self,
        gate: Gate,
        state: GateState | None = None,
        applied: tuple[tuple[int, int], ...] = (),
        copying: tuple[int, float] = (20, 0.001),
        learner: Callable[[Gate, GateState | None], Learner] = Learner,
    ) -> None:
        self._gate = gate
        self._learner = learner(gate, state)
        self._weights = self._learner.weights
        self._wire = Wire(None, None)
        self._idle: list[Replica] = []
        self._entries: PendingBatches[Graph | _Input] = PendingBatches(applied)
        self._handover = Copies(self._learner, *copying)
        self._tally = _Tally()
        self._lease_number = (0, 0)
        self._leased_until = -inf
        self._signs: dict[int, float] = {}  # when signs of life were sent, by their number
        self._max_staleness = inf
        self._squares = 0.0  # of the norm of its last gradient, where others want to know
        self._parked: list[Callable[[], None]] = []  # updates that wait for a lease
        self._doing: list[tuple[str, Route, float]] = []

    def receive(self, message: object, context: Context) -> object:
        """Handle what neighbours, sentinels and the conductor send."""
        match message:
            case Forward() | Backward() | Validate():
                self._take(message, context)
            case Lease():
                if self._is_news(message):
                    self._renew(message, context)
            case StatusOf():
                return self._status()
            case StateOf():
                return _caught(partial(self._learner.state, whole=message.whole))
        return None

    def _take(self, message: Forward | Backward | Validate, context: Context) -> None:
        if not self._entries.fits(message.route):
            self._tally.skipped["of another term"] += 1
        elif isinstance(message, Forward):
            self._forward(message, context)
        elif isinstance(message, Backward):
            self._backward(message, context)
        else:
            self._validate(message, context)

    def _is_news(self, lease: Lease) -> bool:
        return lease.number > self._lease_number

    def _asked(self, lease: Lease) -> float:
        """Return since when a lease runs: when the gate sent the sign of life that it answers."""
        return self._signs.get(lease.answers, -inf)

    def _renew(self, lease: Lease, context: Context) -> None:
        if not self._idle and not self._doing:
            self._idle = self._learner.replicas(RANDOM_LOCK)
        now = context.now()
        self._lease_number = lease.number
        self._leased_until = max(self._leased_until, self._asked(lease) + lease.seconds)
        if lease.wire is not None:
            self._wire = lease.wire
            if lease.term != self._entries.term:
                self._entries.rewire(lease.term)
        self._max_staleness = lease.max_staleness
        if lease.settings:
            self._learner.tune(lease.settings)
        self._tally.skipped["abandoned"] += self._entries.attend(frozenset(lease.attached), lease.newest)
        number = max(self._signs, default=0) + 1
        self._signs = {each: sent for each, sent in self._signs.items() if each >= lease.answers} | {number: now}
        waiting = self.look(now)
        lease.conductor.tell(Alive(context.me, number, self._entries.term, self._weights.version, waiting))
        self._handover.to(lease.conductor)
        self._handover.maybe(context, self._entries, updates=1)
        if now <= self._leased_until:
            parked, self._parked = self._parked, []
            for update in parked:
                update()

    # Forward

    def _forward(self, message: Forward, context: Context) -> None:
        under_way = len(self._parked) + sum(what == "backward" for what, _, _ in self._doing)
        entry = self._entries.begin(message.route, self._weights.version, under_way)
        if entry is None:
            self._tally.skipped["stray"] += 1
            return
        entry.squares = message.squares
        snapshot, buffers = self._learner.snapshot(entry.in_flight), self._weights.buffers
        replica = self._idle.pop()
        wants_gradient = self._wire.upstream is not None
        work = partial(replica.train, message.x, snapshot, buffers, wants_gradient=wants_gradient)
        then = partial(self._forwarded, message, entry, replica, buffers)
        self._compute("forward", message.route, work, then, context)

    def _forwarded(
        self, message: Forward, entry: _Entry, replica: Replica, buffers: Buffers, result: Trained | Exception
    ) -> None:
        self._idle.append(replica)
        if isinstance(result, Exception):
            self._entries.drop(message.route, entry)
            self._refuse(message.route, describe(message.x), result)
            return
        if buffers:
            self._weights.publish(buffers, result.buffers)
        stashed = self._gate.activations == "stashed"
        entry.saved = result.graph if stashed else _Input(message.x, buffers, result.drew)
        self._send_on(Forward(message.route, result.output, message.squares + self._squares))

    # Backward and update

    def _backward(self, message: Backward, context: Context) -> None:
        entry = self._entries.take(message.route)
        if entry is None:
            self._tally.skipped["stray"] += 1
        elif not message.gradients:
            context.in_order(partial(self._send_back, message, (), NOTHING_TO_LEARN))
        elif isinstance(entry.saved, Graph):
            work = partial(entry.saved.gradients, message.gradients)
            self._compute(
                "backward", message.route, work, partial(self._backwarded, message, entry, None, context), context
            )
        else:
            assert entry.saved is not None
            replica = self._idle.pop()
            snapshot = self._learner.recall(self._weights.version - entry.version)
            again = partial(self._recompute, replica, entry.saved, snapshot, message.gradients)
            then = partial(self._backwarded, message, entry, replica, context)
            self._compute("backward", message.route, again, then, context)

    def _recompute(
        self, replica: Replica, saved: _Input, snapshot: Snapshot, gradients: tuple[Tensor | None, ...]
    ) -> Gradients:
        """Run the forward again at other weights, and back through it. The buffers it leaves are thrown away."""
        wants_gradient = self._wire.upstream is not None
        again = replica.train(saved.x, snapshot, saved.buffers, wants_gradient=wants_gradient, replay=saved.drew)
        return again.graph.gradients(gradients)

    def _backwarded(
        self,
        message: Backward,
        entry: _Entry,
        replica: Replica | None,
        context: Context,
        result: Gradients | Exception,
    ) -> None:
        if replica is not None:
            self._idle.append(replica)
        if isinstance(result, Exception):
            self._refuse(message.route, "its gradient", result)
        elif self._may_update(context.now()):
            self._commit(message, entry, result, context)
        else:
            self._parked.append(partial(self._commit, message, entry, result, context))

    def _may_update(self, now: float) -> bool:
        return now <= self._leased_until

    def _commit(self, message: Backward, entry: _Entry, result: Gradients, context: Context) -> None:
        """Apply a gradient; from here on the weights may be torn if anything goes wrong."""
        if not self._is_awaited(message.route):  # while it was computed, or waited for a lease
            self._tally.skipped["stray"] += 1
            return
        if self._gate.norm == "network":
            self._squares = norm_of(result.of_weights) ** 2
        try:
            outcome = self._update(result, entry, message)
        except Exception as error:
            batch = message.route.batch
            text = f"gate {self._gate.name!r} could not apply batch {batch}: {type(error).__name__}: {error}"
            raise UpdateFailed(text, batch) from error
        self._send_back(message, result.of_inputs, outcome, self._squares)
        self._handover.maybe(context, self._entries)

    def _is_awaited(self, route: Route) -> bool:
        return self._entries.fits(route) and self._entries.is_awaited(route.batch)

    def _update(self, result: Gradients, entry: _Entry, message: Backward) -> int | str:
        """Apply a gradient to the weights; return its staleness, or why it was not applied."""
        route, others = message.route, entry.squares + message.squares
        staleness = self._weights.version - entry.version
        if self._entries.was_applied(route.batch):
            outcome: int | str = ALREADY_APPLIED
        elif self._is_too_stale(staleness):
            outcome = TOO_STALE
        else:
            arrival = partial(self._arrival, staleness, entry, route)
            outcome = self._learner.learn(result, staleness, arrival, others)
        if isinstance(outcome, int):
            self._entries.mark_applied(route.batch)
            self._tally.staleness.add(staleness)
        elif outcome != NOTHING_TO_LEARN:
            self._tally.skipped[outcome] += 1
        return outcome

    def _is_too_stale(self, staleness: int) -> bool:
        return staleness > self._max_staleness

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
        if self._entries.is_gone(message.route.batch.incarnation):
            self._tally.skipped["stray"] += 1
            return
        replica = self._idle.pop()
        work = partial(replica.evaluate, message.x, self._weights.snapshot(), self._weights.buffers)
        self._compute("evaluation", message.route, work, partial(self._validated, message, replica), context)

    def _validated(self, message: Validate, replica: Replica, result: Tree | Exception) -> None:
        self._idle.append(replica)
        if isinstance(result, Exception):
            self._refuse(message.route, describe(message.x), result)
        else:
            self._send_on(Validate(message.route, result))

    # Neighbours, and what is in hand

    def _send_on(self, message: Forward | Validate) -> None:
        (self._wire.downstream or message.route.home).tell(message)

    def _send_back(
        self, message: Backward, gradients: tuple[Tensor | None, ...], outcome: int | str, squares: float = 0.0
    ) -> None:
        upstream = self._wire.upstream
        trail = (*message.trail, outcome)
        if upstream is None:
            message.route.home.tell(Backward(message.route, (), trail))
        else:
            upstream.tell(Backward(message.route, gradients, trail, message.squares + squares))

    def _refuse(self, route: Route, what: str, error: Exception) -> None:
        upstream = self._wire.upstream
        origin = "what the loader yields" if upstream is None else f"the output of {upstream.name}, which comes before"
        refusal = BatchRefused(
            f"gate {self._gate.name!r} cannot compute batch {route.batch}, {what}: {type(error).__name__}: {error}. "
            f"Its weights are untouched. Check {origin}"
        )
        refusal.__cause__ = error
        route.home.tell(Refused(route, refusal))

    def _compute(
        self, what: str, route: Route, work: Callable[[], T], then: Callable[[T | Exception], None], context: Context
    ) -> None:
        doing = (what, route, context.now())
        self._doing.append(doing)

        def done(timed: "tuple[T | Exception, float]") -> None:  # in quotes, it is not made anew each time
            result, seconds = timed
            self._doing.remove(doing)
            if what != "evaluation":
                self._tally.pace.add(what, seconds)
            then(result)

        context.compute(partial(_timed, work, context.now), done)

    def look(self, now: float) -> str:
        """Say what the gate has in hand."""
        parts = [
            f"computes the {what} of batch {r.batch} since {now - since:.1f} s" for what, r, since in list(self._doing)
        ]
        if self._parked:
            parts.append(f"has {len(self._parked)} updates that wait for a lease")
        if self._entries:
            parts.append(f"waits for the gradients of {len(self._entries)} batches")
        return "; ".join(parts)

    def _status(self) -> GateStatus:
        skipped = {reason: count for reason, count in self._tally.skipped.items() if count}
        staleness = self._tally.staleness.copy()  # who asks may live in the same process, and look at it later
        version, norms = self._weights.version, self._learner.norms
        return GateStatus(
            self._gate.name,
            version,
            len(self._entries),
            staleness,
            skipped,
            norms.gradient,
            norms.correction,
            self._tally.pace.seconds,
        )


def _timed(work: Callable[[], T], now: Callable[[], float]) -> tuple[T | Exception, float]:
    """Run what may fail, and say how long it took; waiting for a worker does not count."""
    began = now()
    result = _caught(work)
    return result, now() - began


def _caught(work: Callable[[], T]) -> T | Exception:
    """Run what may fail without harm to the gate, and return the error as a value."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a module may raise anything
        return error
