"""Runs a gate: forward, backward, update, and evaluation in between.

A batch that cannot be computed is refused and leaves no trace: weights change only in `Learner.learn`, after everything
that may fail for the batch. A failure in there may leave half an update, so it ends the actor; the conductor starts
another one from the latest copy.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf

from torch import Tensor
from typing_extensions import override

from akkordeon.actor import Actor, Context
from akkordeon.errors import UpdateFailed
from akkordeon.gate.arrivals import arrival_of, refused
from akkordeon.gate.backward import BatchGradients, Graph, Reused
from akkordeon.gate.computations import Computations, caught
from akkordeon.gate.copies import Copies, Copying
from akkordeon.gate.description import Gate
from akkordeon.gate.forward import Recomputation, Replica, Trained
from akkordeon.gate.guards import FrozenMoved
from akkordeon.gate.learner import Learner
from akkordeon.gate.lease import HeldLease
from akkordeon.gate.parameters import NamedTensors
from akkordeon.gate.pending import Entry, PendingBatches
from akkordeon.gate.random_state import RANDOM_LOCK
from akkordeon.gate.replicas import Replicas
from akkordeon.gate.status import Tally
from akkordeon.gate.turns import Turns
from akkordeon.gate.updates import norm_of
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
from akkordeon.messages.leases import Alive, InHand, Lease, Wire
from akkordeon.messages.reports import Observe
from akkordeon.messages.states import GateState, GateStatus, StateOf, StatusOf
from akkordeon.messages.tree import Tree, describe

Pending = Entry[Graph | Recomputation]
Computed = BatchGradients | Exception


class GateActor(Actor):
    """A gate that lives: an actor around the weights, the optimizer and the batches in between.

    Args:
        gate: describes it.
        state: to go on from; None to begin.
        applied: batches that the state holds already, as in `Copy`.
        copying: how often it hands over a copy of itself.
        learner: makes what it computes and learns with.
    """

    def __init__(
        self,
        gate: Gate,
        state: GateState | None = None,
        applied: tuple[tuple[int, int], ...] = (),
        copying: Copying = Copying(),  # noqa: B008 - it is immutable
        learner: Callable[[Gate, GateState | None], Learner] = Learner,
    ) -> None:
        self._gate = gate
        self._learner = learner(gate, state)
        self._weights = self._learner.weights
        self._wire = Wire(None, None)
        self._replicas = Replicas(partial(self._learner.replica, RANDOM_LOCK))
        self._turns = Turns(gate.name, self._replicas.ready, self._is_stray)
        self._pending: PendingBatches[Graph | Recomputation] = PendingBatches(applied)
        self._copies = Copies(self._learner, copying)
        self._computations = Computations(gate.name)
        self._tally = Tally()
        self._lease = HeldLease()
        self._max_staleness = inf
        self._parked: list[tuple[Route, Callable[[], None]]] = []  # updates that wait for a lease

    @override
    def receive(self, message: object, context: Context) -> object:
        match message:
            case Forward() | Backward() | Validate() if not self._pending.is_of_this_term(message.route):
                self._tally.skipped["of another term"] += 1
            case Forward():
                self._forward(message, context)
            case Backward():
                self._backward(message, context)
            case Validate():
                self._validate(message, context)
            case Lease() if self._lease.is_news(message):
                self._renew(message, context)
            case StatusOf():
                return self._status(context)
            case Observe():
                message.reader.tell(self._status(context))
                self._computations.tracer.observed(message)
            case StateOf():
                return caught(partial(self._learner.state, whole=message.whole))
        return None

    def _renew(self, lease: Lease, context: Context) -> None:
        now = context.now()
        heartbeat = self._lease.renew(lease, now)
        if lease.wire is not None:
            self._wire = lease.wire
            if lease.term != self._pending.term:
                self._pending.rewire(lease.term)
        self._max_staleness = lease.max_staleness
        if lease.settings:
            self._learner.tune(lease.settings)
        self._tally.skipped["abandoned"] += self._pending.attend(frozenset(lease.attached), lease.newest)
        held, version = (*self._waiting(context), *self._computations.in_hand(now)), self._weights.version
        lease.conductor.tell(Alive(context.me, heartbeat, self._pending.term, version, self.look(now), held))
        self._copies.to(lease.conductor)
        self._copies.maybe(context, self._pending, updates=1)
        self._turns.next()
        if self._lease.allows_update(now):
            parked, self._parked = self._parked, []
            for _, update in parked:
                update()

    def _waiting(self, context: Context) -> tuple[InHand, ...]:
        """Rule of the protocol: a gate tells of batches that are not computed yet, or wait for a lease, too."""
        routes = [each.route for each in context.waiting() if isinstance(each, Forward | Backward | Validate)]
        routes += [*self._turns.waiting, *(route for route, _ in self._parked)]
        return tuple(InHand(route.batch, route.attempt, 0.0) for route in routes)

    def _forward(self, message: Forward, context: Context) -> None:
        route = message.route
        entry = self._pending.begin(route, self._weights.version, len(self._parked) + self._computations.backwards)
        if entry is None:
            self._tally.skipped["stray"] += 1
            return
        entry.squares = message.squares
        self._turns.take(route, partial(self._begin_forward, message, entry, context))

    def _is_stray(self, route: Route) -> bool:
        """Whether a batch has ended while it waited for its turn, or for a lease; count it then."""
        stray = not self._is_awaited(route)
        self._tally.skipped["stray"] += stray
        return stray

    def _begin_forward(self, message: Forward, entry: Pending, context: Context) -> None:
        replica = self._replicas.take("forward")
        entry.version = self._weights.version  # others may have been before it
        snapshot, buffers = self._learner.snapshot(entry.in_flight), self._weights.buffers
        work = partial(replica.train, message.x, snapshot, buffers, wanted=self._wanted(message))
        then = partial(self._forwarded, message, entry, context, replica, buffers)
        self._computations.run("forward", message.route, work, then, context)

    def _forwarded(
        self,
        message: Forward,
        entry: Pending,
        context: Context,
        replica: Replica,
        buffers: NamedTensors,
        result: Trained | Exception,
    ) -> None:
        if isinstance(result, FrozenMoved):
            self._weights.move(result.indices)
            self._replicas.clear()
            self._begin_forward(message, entry, context)
        elif isinstance(result, Exception):
            self._replicas.give("forward", replica)
            self._pending.drop(message.route, entry)
            self._refuse(message.route, describe(message.x), result)
            self._turns.end()
        elif result.buffers and not self._weights.publish(buffers, result.buffers):
            self._replicas.give("forward", replica)
            self._turns.only_one(f"what is in its buffers depends on their order: {', '.join(result.buffers)}")
            self._begin_forward(message, entry, context)  # again, with what others have left
        else:
            self._forward_is_done(message, entry, replica, buffers, result)

    def _forward_is_done(
        self, message: Forward, entry: Pending, replica: Replica, buffers: NamedTensors, result: Trained
    ) -> None:
        if result.changed:
            self._replicas.note(result.changed, replica)
            self._turns.only_one(f"its forward changes {self._replicas.changes}, which the next one may use")
        # A second forward would begin with what the first has left in the module, so there is none then.
        if self._gate.activations == "stashed" or self._replicas.changes:
            entry.saved = result.graph
        else:
            entry.saved = Recomputation(message.x, buffers, result.drew, self._wanted(message))
        self._replicas.keep(replica, entry.saved)
        squares = message.squares + self._learner.norms.squares
        self._send_on(Forward(message.route, result.output, squares, result.differentiable))
        self._turns.end()

    def _wanted(self, message: Forward) -> tuple[bool, ...]:
        """Return of each tensor of the input whether its gradient is asked for."""
        return message.differentiable if self._wire.upstream is not None else ()

    def _backward(self, message: Backward, context: Context) -> None:
        if message.ends_epoch:
            end, nothing = Pending(1, self._weights.version, 0), BatchGradients([], (), finite=True)
            context.in_order(partial(self._backwarded, message, end, None, context, nothing))
            return
        entry = self._pending.take(message.route)
        if entry is None:
            self._tally.skipped["stray"] += 1
            return
        if not message.gradients:
            if isinstance(entry.saved, Graph) and isinstance(entry.saved.replica, Replica):
                self._replicas.give("forward", entry.saved.replica)
            self._computations.in_turn(message.route, partial(self._send_back, message, (), NOTHING_TO_LEARN), context)
            self._turns.next()
            return
        if isinstance(entry.saved, Graph):
            replica = entry.saved.replica
            work = partial(entry.saved.gradients, message.gradients)
        else:
            assert entry.saved is not None
            replica = self._replicas.take("backward")
            snapshot = self._learner.recall(self._weights.version - entry.version)
            work = partial(entry.saved.gradients, message.gradients, replica, snapshot)
        done = partial(self._backwarded, message, entry, replica, context)
        self._computations.run("backward", message.route, work, done, context)

    def _backwarded(
        self, message: Backward, entry: Pending, used: Reused | None, context: Context, result: Computed
    ) -> None:
        if used is not None:
            assert isinstance(used, Replica)
            self._replicas.give("forward" if isinstance(entry.saved, Graph) else "backward", used)
            self._turns.next()
        if isinstance(result, Exception):
            self._refuse(message.route, "its gradient", result)
            return
        if result.wrote is not None:
            self._weights.publish(*result.wrote)
        if self._lease.allows_update(context.now()):
            self._commit(message, entry, result, context)
        else:
            self._parked.append((message.route, partial(self._commit, message, entry, result, context)))

    def _commit(self, message: Backward, entry: Pending, result: BatchGradients, context: Context) -> None:
        """Apply a gradient; from here on, a failure may leave half an update."""
        batch = message.route.batch
        if self._is_stray(message.route):
            return
        if self._gate.norm == "network" and result.finite:  # one that is not would ruin what other gates clip
            self._learner.norms.squares = norm_of(result.of_weights) ** 2
        try:
            outcome = self._update(result, entry, message)
        except Exception as error:
            text = f"gate {self._gate.name!r} could not apply batch {batch}: {type(error).__name__}: {error}"
            raise UpdateFailed(text, batch, self._weights.version) from error
        if isinstance(outcome, int) or message.ends_epoch:
            self._pending.mark_applied(batch)
        if isinstance(outcome, int):
            self._tally.staleness.add(outcome)
        elif outcome != NOTHING_TO_LEARN:
            self._tally.skipped[outcome] += 1
        self._send_back(message, result.of_inputs, outcome, self._learner.norms.squares)
        self._copies.maybe(context, self._pending)

    def _is_awaited(self, route: Route) -> bool:
        """Rule of the protocol: nothing is applied that its sentinel does not wait for."""
        return self._pending.is_of_this_term(route) and self._pending.is_awaited(route.batch)

    def _is_too_stale(self, staleness: int) -> bool:
        """Rule of the protocol: nothing is applied that is too stale."""
        return staleness > self._max_staleness

    def _update(self, result: BatchGradients, entry: Pending, message: Backward) -> int | str:
        """Apply a gradient to the weights; return its staleness, or why it was not applied."""
        staleness = self._weights.version - entry.version
        if self._pending.was_applied(message.route.batch):
            return ALREADY_APPLIED
        if message.ends_epoch:
            return self._learner.end_epoch()
        if self._is_too_stale(staleness):
            return TOO_STALE
        arrival = partial(arrival_of, staleness, entry, message.route, self._weights)
        return self._learner.learn(result, staleness, arrival, entry.squares + message.squares)

    def _validate(self, message: Validate, context: Context) -> None:
        if self._pending.is_gone(message.route.batch.incarnation):
            self._tally.skipped["stray"] += 1
            return
        in_turn = bool(self._replicas.changes)  # the state to evaluate with is in the module object that trains
        begin = partial(self._begin_validation, message, context, in_turn=in_turn)
        self._turns.take(message.route, begin) if in_turn else begin()

    def _begin_validation(self, message: Validate, context: Context, *, in_turn: bool) -> None:
        replica = self._replicas.take("evaluation")
        work = partial(replica.evaluate, message.x, self._weights.snapshot(), self._weights.buffers)
        then = partial(self._validated, message, replica, in_turn=in_turn)
        self._computations.run("evaluation", message.route, work, then, context)

    def _validated(self, message: Validate, replica: Replica, result: Tree | Exception, *, in_turn: bool) -> None:
        self._replicas.give("evaluation", replica)
        if in_turn:
            self._turns.end()
        if isinstance(result, Exception):
            self._refuse(message.route, describe(message.x), result)
        else:
            self._send_on(Validate(message.route, result))

    def _send_on(self, message: Forward | Validate) -> None:
        self._tally.sent("downstream", message.x)
        (self._wire.downstream or message.route.home).tell(message)

    def _send_back(
        self, message: Backward, gradients: tuple[Tensor | None, ...], outcome: int | str, squares: float = 0.0
    ) -> None:
        upstream = self._wire.upstream
        trail = (*message.trail, outcome)
        if upstream is None:
            message.route.home.tell(Backward(message.route, (), trail))
        else:
            self._tally.sent("upstream", gradients)
            upstream.tell(Backward(message.route, gradients, trail, message.squares + squares, message.ends_epoch))

    def _refuse(self, route: Route, what: str, error: Exception) -> None:
        route.home.tell(Refused(route, refused(self._gate.name, route, what, error, self._wire.upstream)))

    @override
    def look(self, now: float) -> str:
        parts = self._computations.look(now)
        if self._parked:
            parts.append(f"has {len(self._parked)} updates waiting for a lease")
        if self._pending:
            parts.append(f"waits for the gradients of {len(self._pending)} batches")
        return "; ".join(parts)

    def _status(self, context: Context) -> GateStatus:
        status = self._tally.status(self._learner, self._pending, self._computations, self._turns, context)
        before = self._wire.upstream
        return replace(status, name=self._gate.name, upstream="" if before is None else before.name.partition(" ")[2])
