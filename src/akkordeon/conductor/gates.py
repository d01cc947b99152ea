"""Starts, wires, leases and restarts the gates.

A *term* is one wiring of the network. When a gate has ended, or is silent for longer than its lease, the term is over:
gates and sentinels ignore whatever of it is still on its way. The next one begins when the gate has been restarted from
its latest copy, and every gate has acknowledged its neighbours.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from akkordeon.actor import Context, Ref
from akkordeon.conductor.heartbeat import Heartbeat
from akkordeon.conductor.placement import Placement, lent
from akkordeon.conductor.sentinels import Membership
from akkordeon.conductor.state import ConductorState
from akkordeon.conductor.supervision import Supervision
from akkordeon.conductor.tuning import Tunings
from akkordeon.errors import ActorFailed, ActorNotFound, UpdateFailed
from akkordeon.gate.actor import GateActor
from akkordeon.gate.description import Gate
from akkordeon.messages.batches import BatchId
from akkordeon.messages.leases import Alive, Chain, Copy, Lease, MessageNumber, NoCopy, Wire
from akkordeon.messages.reports import Alarm, Failure
from akkordeon.messages.states import GateState


@dataclass(frozen=True, slots=True)
class Restart:
    """From the conductor, to itself: restart a gate now, if it is still missing."""

    gate: str


@dataclass(slots=True)
class _Place:
    """A place in the chain: the description of its gate, the heartbeats of its actor, and the ends of those before.

    Of each end, the time and the error; where that was raised by an update, also the gate's version, and the batch.
    """

    gate: Gate
    state: GateState | None
    pulse: Heartbeat | None = None
    ends: deque[tuple[float, str, int | None, object]] = field(default_factory=deque)
    no_copy: Exception | None = None

    @property
    def repeated(self) -> list[object]:
        """The batches at which the latest update failed before, with the same error."""
        *before, (_, error, version, _) = self.ends
        return [end[3] for end in before if version is not None and end[1:3] == (error, version)]


class GateSupervisor:
    """The gates of a network.

    Args:
        gates: descriptions.
        states: to begin with; empty for a new network.
        settings: when gates count as dead, and how often they are restarted.
        placement: on which hosts gates live.
        members: the sentinels, which leases name.
        state: of the conductor, perhaps from another one before.
    """

    def __init__(
        self,
        gates: Sequence[Gate],
        states: Iterable[GateState],
        settings: Supervision,
        placement: Placement,
        members: Membership,
        state: ConductorState,
    ) -> None:
        self.cause = None if state.cause is None else ActorFailed(state.cause)
        self.blame: BatchId | None = None
        self.restarts = 0
        self.tunings = Tunings(gates, state)
        self.accumulates = any(gate.accumulate > 1 and gate.remainder != "keep" for gate in gates)
        self._settings = settings
        self._placement = placement
        self._members = members
        self._state = state
        self._numbers = itertools.count(1)
        self._places = [_Place(gate, each) for gate, each in itertools.zip_longest(gates, states)]
        self._opened = 0  # the latest term that batches could be sent in
        self._retired: list[Ref] = []  # gates and sentinels that must end, and may be out of reach

    @property
    def refs(self) -> tuple[Ref, ...]:
        """The gates that live, in the order of the chain."""
        return tuple(place.pulse.ref for place in self._places if place.pulse is not None)

    @property
    def chain(self) -> Chain | None:
        """Where batches go; None until all gates know their neighbours of this term, or after a failure."""
        wired = all(place.pulse is not None and place.pulse.term == self._state.term for place in self._places)
        if not wired or self.cause is not None:
            return None
        return Chain(self.refs[0], self.refs[-1], tuple(self.tunings.names))

    def open(self, context: Context) -> list[str]:
        """Start all gates, or find those of the conductor before; return the names of those that have ended."""
        state = self._state
        is_new = not state.gates
        state.gates = state.gates or {name: f"gate {name}" for name in self.tunings.names}
        state.write()
        self._find_retired(context)
        for place in self._places:
            if is_new:
                self._start(place, context)
                continue
            with suppress(ActorNotFound):
                self._watch(place, context.find(state.gates[place.gate.name]), context)
        return [place.gate.name for place in self._places if place.pulse is None]

    def _find_retired(self, context: Context) -> None:
        """Continue to stop what the conductor before had to stop. Rule of the protocol; tested by switching it off."""
        names, self._state.retired = sorted(self._state.retired), set()
        for name in names:
            with suppress(ActorNotFound):
                ref = context.find(name)
                context.watch(ref, context.me)
                self._retired.append(ref)
                self._state.retired.add(name)

    def _start(self, place: _Place, context: Context) -> None:
        gate, copy = place.gate, self._state.copies.get(place.gate.name)
        state, applied = (place.state, ()) if copy is None else (copy.state, copy.applied)
        make = partial(GateActor, gate, state, applied, self._settings.copying)
        host = self._placement.places([each.gate for each in self._places], lent(context.places()))[gate.name]
        spawn = partial(context.spawn, self._state.gates[gate.name], make, computations=gate.at_once)
        try:
            ref = spawn(place=host)
        except (ActorNotFound, ActorFailed):  # the host has gone just now
            ref = spawn()
        self._watch(place, ref, context)

    def _watch(self, place: _Place, ref: Ref, context: Context) -> None:
        context.watch(ref, context.me)
        place.pulse = Heartbeat(ref, context.now())

    # Leases and heartbeats

    def lease(self, context: Context) -> None:
        """Send every gate a lease, which is all that it must know."""
        refs, attached = self.refs, tuple(each.incarnation for each in self._members.members)
        neighbours: list[Ref | None] = [None, *refs, None]
        there = [(place.gate.name, place.pulse) for place in self._places if place.pulse is not None]
        for (gate, pulse), upstream, downstream in zip(there, neighbours, neighbours[2:], strict=False):
            lease = Lease(
                number=MessageNumber(self._state.conductors, next(self._numbers)),
                conductor=context.me,
                answers=pulse.number,
                seconds=self._settings.lease,
                term=self._state.term,
                wire=Wire(upstream, downstream) if len(refs) == len(self._places) else None,
                attached=attached,
                newest=self._state.newest,
                max_staleness=self._members.max_staleness,
                settings=self.tunings.of(gate),
            )
            pulse.missed += 1
            pulse.ref.tell(lease)

    def alive(self, sign: Alive, context: Context) -> None:
        """Take in a heartbeat of a gate."""
        for place in self._places:
            if place.pulse is not None and self._holds(place, sign.actor) and place.pulse.beat(sign, context.now()):
                self.lease(context)
        if self.chain is not None:
            self._opened = self._state.term

    def copied(self, copy: Copy | NoCopy) -> None:
        """Keep a copy of a gate, unless the gate was replaced or a newer copy has come."""
        for place in self._places:
            if self._holds(place, copy.actor):
                if isinstance(copy, NoCopy):
                    place.no_copy = copy.error
                elif self._is_newest(copy):
                    self._state.keep(copy)

    def _is_newest(self, copy: Copy) -> bool:
        """Whether no newer copy has overtaken this one. Rule of the protocol; tested by switching it off."""
        before = self._state.copies.get(copy.state.name)
        return before is None or copy.state.version >= before.state.version

    def _holds(self, place: _Place, actor: Ref) -> bool:
        """Whether an actor is the present one of its gate. Rule of the protocol; tested by switching it off."""
        return place.pulse is not None and place.pulse.ref == actor

    # Ends

    def tick(self, context: Context) -> list[str]:
        """Ask all gates for a heartbeat; return the names of those that are silent."""
        self._stop_retired(context)
        now = context.now()
        silent = [p.gate.name for p in self._places if p.pulse is not None and p.pulse.is_silent(now, self._settings)]
        self.lease(context)
        return silent

    def _stop_retired(self, context: Context) -> None:
        """Repeat the stop of actors that were out of reach. Rule of the protocol; tested by switching it off."""
        for ref in self._retired:
            context.stop(ref)

    def ended(self, actor: Ref) -> str | None:
        """Note that an actor has ended; return the name of its gate, if it was the present one of a gate."""
        if actor in self._retired:
            self._retired.remove(actor)
            self._state.retired.discard(actor.name)
        for place in self._places:
            if self._holds(place, actor):
                place.pulse = None
                return place.gate.name
        return None

    def retire(self, actor: Ref, context: Context) -> None:
        """Stop a gate or a sentinel, until it has ended; first write the state, which says so."""
        self._retired.append(actor)
        self._state.retired.add(actor.name)
        self._state.write()
        context.stop(actor)

    def replace(self, gate: str, reason: BaseException | None, context: Context) -> Alarm | Failure:
        """End the term, and restart a gate, now or later; or give up. Return what users need to know about it."""
        place, before = self._note_end(gate, reason, context.now())
        silent, place.pulse = place.pulse, None
        # What fails for one batch may be the batch's fault, which is dropped in the end; for two, it will fail for all.
        again, batch = place.repeated, place.ends[-1][3]
        is_lasting = any(each != batch for each in again)
        has_failed = place.no_copy is not None or is_lasting or not self._may_restart(before)
        if has_failed:
            self.cause = self._failure(place, reason)
            self._state.cause = str(self.cause)
        if silent is None:
            self._state.write()
        else:
            self.retire(silent.ref, context)
        if has_failed and self.cause is not None:
            return Failure(self.cause)
        wait = 0.0 if again else self._settings.backoff[min(before, len(self._settings.backoff) - 1)]
        if wait > 0:
            context.tell_later(wait, Restart(gate))
        else:
            self.restart(Restart(gate), context)
        return Alarm(self._plan(place, wait), gate)

    def _note_end(self, gate: str, reason: BaseException | None, now: float) -> tuple[_Place, int]:
        """Begin another term without a gate; return its place, and how often gates there had ended lately."""
        place = next(place for place in self._places if place.gate.name == gate)
        version, batch = (reason.version, reason.batch) if isinstance(reason, UpdateFailed) else (None, None)
        if self._opened == self._state.term:
            self.blame = batch if isinstance(batch, BatchId) else None
        self._state.term = self._next_term()
        self._state.gates[gate] = f"gate#{self._state.term} {gate}"
        if place.state is not None:  # only a network that is resumed draws its random numbers again
            place.state = replace(place.state, rest={k: v for k, v in place.state.rest.items() if k != "random"})
        while place.ends and place.ends[0][0] <= now - self._settings.within:
            place.ends.popleft()
        place.ends.append((now, _described(reason), version, batch))
        return place, len(place.ends) - 1

    def _next_term(self) -> int:
        """Return the number of the next term. Rule of the protocol; tested by switching it off."""
        return self._state.term + 1

    def _may_restart(self, before: int) -> bool:
        """Whether a gate has restarts left. Rule of the protocol; tested by switching it off."""
        return before < self._settings.restarts

    def restart(self, message: Restart, context: Context) -> None:
        """Restart a gate from its latest copy, unless that was done or the network has failed."""
        place = next(place for place in self._places if place.gate.name == message.gate)
        if place.pulse is None and self.cause is None:
            self.restarts += 1
            self._start(place, context)
            self.lease(context)

    def _plan(self, place: _Place, wait: float) -> str:
        ended = f"gate {place.gate.name!r} has ended: {place.ends[-1][1]}"
        if self.cause is not None:
            return ended
        copy = self._state.copies.get(place.gate.name)
        version = "its initial state" if copy is None else f"version {copy.state.version}"
        return f"{ended}; restarting it from {version}" + (f" in {wait:g} s" if wait else "")

    def _failure(self, place: _Place, reason: BaseException | None) -> ActorFailed:
        what = f"gate {place.gate.name} has failed, and the network with it: {place.ends[0][1]}"
        if place.no_copy is not None:
            what += f". It cannot be restarted because it cannot be copied: {place.no_copy}"
        elif (times := len(place.ends)) > 1:
            what += f". It ended {times} times within {self._settings.within:g} s; that was the first cause"
        error = ActorFailed(what)
        error.__cause__ = reason.__cause__ if isinstance(reason, UpdateFailed) else reason
        return error


def _described(reason: BaseException | None) -> str:
    if isinstance(reason, UpdateFailed) and reason.__cause__ is not None:
        reason = reason.__cause__
    return "it was stopped" if reason is None else f"{type(reason).__name__}: {reason}"
