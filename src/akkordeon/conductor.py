"""The one actor per network that starts gates, watches them, and knows who is attached.

It is not on the way of any batch. Everything that users get to see goes through it as a numbered stream of events, so
a watcher that comes late misses nothing of the last `MEMORY` events.
"""

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from akkordeon.actor import Actor, Context, Ended, Ref
from akkordeon.control import Attach, Detach, Detached, Open, Pause, Paused, Resume, Roster, Subscribe, Unsubscribe, Who
from akkordeon.errors import ActorFailed, ActorNotFound, AkkordeonError, WiringError
from akkordeon.evaluation_actor import EvaluationActor
from akkordeon.events import Departure, Event, Failure, Notice, Report
from akkordeon.gate import Gate
from akkordeon.gate_actor import GateActor
from akkordeon.sentinel import Sentinel, TrainingSentinel
from akkordeon.signals import Abort, Chain, Drain, Forget, GateState, GoOn, Held, Hold, Left, Position, Start
from akkordeon.training_actor import TrainingActor

__all__ = ["Conductor"]

MEMORY = 10_000
"""Events kept for watchers that come late."""

PAUSE = 60.0
"""Seconds for copying the gates, after which training goes on should whoever held it not say so."""


@dataclass(frozen=True, slots=True)
class _Over:
    """To itself: a pause has lasted long enough."""

    number: int


@dataclass(slots=True)
class _Attached:
    sentinel: Sentinel
    incarnation: int
    ref: Ref
    detachers: list[Ref]


class Conductor(Actor):
    """Starts gates, lets sentinels join and leave, and tells watchers what happens."""

    def __init__(
        self,
        network: str,
        gates: Sequence[Gate],
        states: Sequence[GateState] = (),
        positions: Mapping[str, Position] | None = None,
    ) -> None:
        self._network = network
        self._gates = tuple(gates)
        self._states = tuple(states)
        self._saved = dict(positions or {})  # where sentinels may take up again
        self._stood: dict[str, Position] = {}  # where those that left or are held stand
        self._pauses = 0
        self._pauser: Ref | None = None
        self._awaited: set[str] = set()
        self._refs: list[Ref] = []
        self._attached: dict[str, _Attached] = {}
        self._names: set[str] = set()  # of all that were ever attached
        self._incarnations = 0
        self._cause: Exception | None = None
        self._events: deque[Notice] = deque(maxlen=MEMORY)
        self._count = 0
        self._watchers: list[Ref] = []

    def receive(self, message: object, context: Context) -> object:
        """Handle what sentinels, engine and the outside send."""
        match message:
            case Report():
                self._publish(message)
            case Left():
                self._left(message, context)
            case Held():
                self._held(message)
            case Ended():
                self._ended(message, context)
            case _Over(number):
                if number == self._pauses:
                    self._resume()
            case _:
                return self._answer(message, context)
        return None

    def _answer(self, message: object, context: Context) -> object:
        """Handle what comes from outside."""
        match message:
            case Open():
                return self._open(context)
            case Attach():
                return self._attach(message.sentinel, context)
            case Detach():
                self._detach(message)
            case Subscribe():
                self._subscribe(message)
            case Unsubscribe():
                self._watchers = [each for each in self._watchers if each != message.watcher]
            case Pause():
                self._pause(message, context)
            case Resume():
                return self._pauser == message.reply_to and self._resume()
            case Who():
                sentinels = tuple(each.ref for each in self._attached.values())
                return Roster(self._cause, tuple(self._refs), sentinels)
        return None

    def _open(self, context: Context) -> tuple[Ref, ...]:
        for gate, state in itertools.zip_longest(self._gates, self._states):
            make = partial(GateActor, gate, state)
            ref = context.spawn(f"gate {gate.name}", make, computations=gate.computations)
            context.watch(ref, context.me)
            self._refs.append(ref)
        return tuple(self._refs)

    # Sentinels come and go

    def _attach(self, sentinel: Sentinel, context: Context) -> WiringError | None:
        if self._cause is not None:
            return WiringError(f"sentinel {sentinel.name!r} cannot join: the network has failed: {self._cause}")
        if sentinel.name in self._attached:
            names = ", ".join(self._attached)
            return WiringError(
                f"a sentinel named {sentinel.name!r} is attached; choose another name. Attached: {names}"
            )
        self._incarnations += 1
        self._names.add(sentinel.name)
        chain = Chain(self._refs[0], self._refs[-1], tuple(gate.name for gate in self._gates))
        trains = isinstance(sentinel, TrainingSentinel)
        kind = TrainingActor if trains else EvaluationActor
        position = self._take_place(sentinel.name) if trains else None
        make = partial(kind, sentinel, chain, context.me, self._network, self._incarnations, position)
        ref = context.spawn(f"sentinel {sentinel.name}", make)
        context.watch(ref, context.me)
        self._attached[sentinel.name] = _Attached(sentinel, self._incarnations, ref, [])
        if trains and self._pauser is not None:
            ref.tell(Hold(self._pauses))
        ref.tell(Start())
        return None

    def _take_place(self, name: str) -> Position | None:
        position = self._saved.pop(name, None)
        if position is not None:
            self._stood[name] = position  # until it says where it stands itself
        return position

    def _detach(self, message: Detach) -> None:
        attached = self._attached.get(message.sentinel)
        if attached is None:
            message.reply_to.tell(Detached(message.sentinel, self._unknown(message.sentinel)))
        else:
            attached.detachers.append(message.reply_to)
            attached.ref.tell(Drain())

    def _unknown(self, name: str) -> ActorNotFound | None:
        if name in self._names:
            return None
        there = ", ".join(self._attached) or "none"
        return ActorNotFound(f"there never was a sentinel {name!r} in this network; attached are: {there}")

    def _left(self, message: Left, context: Context) -> None:
        attached = self._attached.get(message.sentinel)
        if attached is not None and attached.incarnation == message.incarnation:
            if message.position is not None:
                self._stood[message.sentinel] = message.position
            self._dismiss(attached, message.error, context)

    def _dismiss(self, attached: _Attached, error: Exception | None, context: Context) -> None:
        name = attached.sentinel.name
        del self._attached[name]
        context.stop(attached.ref)
        oldest = min((other.incarnation for other in self._attached.values()), default=self._incarnations + 1)
        for gate in self._refs:
            gate.tell(Forget(attached.incarnation, oldest))
        if error is not None:
            self._publish(Failure(error))
        self._publish(Departure(name, had_end=attached.sentinel.ends))
        for detacher in attached.detachers:
            detacher.tell(Detached(name))
        self._awaited.discard(name)
        self._tell_if_paused()

    # A pause, for a save

    def _pause(self, message: Pause, context: Context) -> None:
        if self._pauser is not None:
            message.reply_to.tell(Paused({}, AkkordeonError("somebody else is saving the network; try again")))
            return
        self._pauses += 1
        self._pauser = message.reply_to
        context.tell_later(message.seconds + PAUSE, _Over(self._pauses))
        training = [each for each in self._attached.values() if isinstance(each.sentinel, TrainingSentinel)]
        self._awaited = {each.sentinel.name for each in training}
        for attached in training:
            attached.ref.tell(Hold(self._pauses))
        self._tell_if_paused()

    def _held(self, message: Held) -> None:
        attached = self._attached.get(message.sentinel)
        if attached is None or attached.incarnation != message.incarnation or message.pause != self._pauses:
            return
        if message.position is not None:
            self._stood[message.sentinel] = message.position
        self._awaited.discard(message.sentinel)
        self._tell_if_paused()

    def _tell_if_paused(self) -> None:
        if self._pauser is not None and not self._awaited:
            self._pauser.tell(Paused({**self._saved, **self._stood}))

    def _resume(self) -> bool:
        stood_still = self._pauser is not None and not self._awaited
        self._pauser = None
        self._awaited.clear()
        for attached in self._attached.values():
            attached.ref.tell(GoOn())
        return stood_still

    # Failures

    def _ended(self, message: Ended, context: Context) -> None:
        for attached in self._attached.values():
            if attached.ref == message.actor:
                error = ActorFailed(f"{message.actor.name} failed: {message.reason!r}")
                error.__cause__ = message.reason
                self._dismiss(attached, error, context)
                return
        if message.actor in self._refs:
            self._fail(message)

    def _fail(self, ended: Ended) -> None:
        """A gate has ended, so no batch can pass any more: all sentinels leave."""
        self._refs = [gate for gate in self._refs if gate != ended.actor]
        if self._cause is None:
            self._cause = ActorFailed(
                f"{ended.actor.name} has failed, and the network with it: {type(ended.reason).__name__}: {ended.reason}"
            )
            self._cause.__cause__ = ended.reason
            self._publish(Failure(self._cause))
        for attached in self._attached.values():
            attached.ref.tell(Abort())

    # Watchers

    def _subscribe(self, message: Subscribe) -> None:
        for notice in self._events:
            if notice.number > message.after:
                message.watcher.tell(notice)
        message.watcher.tell(self._notice(0, None))
        self._watchers.append(message.watcher)

    def _publish(self, event: Event) -> None:
        self._count += 1
        notice = self._notice(self._count, event)
        self._events.append(notice)
        for watcher in self._watchers:
            watcher.tell(notice)

    def _notice(self, number: int, event: Event) -> Notice:
        ending = sum(attached.sentinel.ends for attached in self._attached.values())
        return Notice(number, event, len(self._attached), ending)
