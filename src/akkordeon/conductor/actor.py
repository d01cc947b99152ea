"""The one actor per network that starts gates, watches over them, and knows which sentinels are attached.

No batch passes through it. It sends gates and sentinels everything they must know periodically, in full, so nothing
depends on a single message. Users see everything through it, as a numbered log of events (`EventLog`). What it must not
forget it writes into its `ConductorState` before it acts on it; another conductor can take over from there.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from akkordeon.actor import Actor, Context, Ended, Ref
from akkordeon.conductor import requests
from akkordeon.conductor.event_log import EventLog
from akkordeon.conductor.gates import GateSupervisor, Restart
from akkordeon.conductor.handshake import Handshake, own_handshake
from akkordeon.conductor.pauses import Over, Pauses
from akkordeon.conductor.placement import Placement
from akkordeon.conductor.readers import LookAround, Readers
from akkordeon.conductor.sentinels import Attached, Limits, Membership
from akkordeon.conductor.state import ConductorState
from akkordeon.conductor.supervision import Supervision
from akkordeon.conductor.watchdog import Watchdog
from akkordeon.errors import ActorFailed, ActorNotFound, WiringError
from akkordeon.gate.description import Gate
from akkordeon.messages.leases import Alive, Copy, Held, Left, MessageNumber, NoCopy, Orders
from akkordeon.messages.reports import Adjustment, Alarm, Changed, Closing, Departure, Failure, Joined, Report, SavedTo
from akkordeon.messages.states import GateState, Position


@dataclass(frozen=True, slots=True)
class _Beat:
    """To itself, periodically: send leases and orders, and look which actors are silent."""


class Conductor(Actor):
    """Starts gates, lets sentinels join and leave, and publishes what happens.

    Args:
        network: its name.
        gates: descriptions.
        states: of the gates, to begin with; empty for a new network.
        positions: where training sentinels resume, by name.
        settings: when gates and sentinels count as dead, and what follows.
        limits: of batches in flight.
        placement: on which hosts gates live.
        state: of the conductor before this one, to take over from; None for a new network.
    """

    def __init__(
        self,
        network: str,
        gates: Sequence[Gate],
        states: Sequence[GateState] = (),
        positions: Mapping[str, Position] | None = None,
        *,
        settings: Supervision | None = None,
        limits: Limits | None = None,
        placement: Placement | None = None,
        state: ConductorState | None = None,
    ) -> None:
        settings = self._settings = settings or Supervision()
        self._period = min(settings.beat, settings.stall / 3)
        self._state = state or ConductorState()
        self._state.conductors += 1
        self._members = Membership(network, limits or Limits(), self._state)
        self._gates = GateSupervisor(gates, states, settings, placement or Placement(), self._members, self._state)
        self._handshake = own_handshake(gates)
        self._ordered: object = None
        self._numbers = itertools.count(1)
        self._pauses = Pauses(positions or {})
        self._events = EventLog(self._present)
        self._watchdog = Watchdog(settings.stall)
        self._readers = Readers()

    def receive(self, message: object, context: Context) -> object:
        """Handle what sentinels, gates, the engine and users send."""
        answer = None
        self._events.at(context.now())
        match message:
            case Report() | Adjustment() | SavedTo() | Changed():
                self._events.publish(message)
            case Alive():
                self._alive(message, context)
            case Copy() | NoCopy():
                self._gates.copied(message)
            case Left():
                self._left(message, context)
            case Held():
                self._held(message)
            case Ended():
                self._ended(message, context)
            case _Beat():
                self._beat(context)
            case Restart():
                self._gates.restart(message, context)
            case Over():
                self._pauses.end_if(message)
            case _:
                answer = self._answer(message, context)
        self._order_if_changed(context)
        return answer

    def _answer(self, message: object, context: Context) -> object:
        """Handle the requests of users."""
        match message:
            case requests.Open():
                return self._open(context)
            case requests.Attach():
                return self._attach(message, context)
            case requests.Detach():
                self._detach(message)
            case requests.Set():
                return self._set(message, context)
            case requests.Subscribe():
                self._events.subscribe(message)
                context.watch(message.watcher, context.me)
            case requests.Unsubscribe():
                self._events.unsubscribe(message)
            case requests.Pause():
                training = [each.name for each in self._members.members if each.kind == "train"]
                self._pauses.begin(message, training, context)
            case requests.Close():
                self._events.publish(Closing())
            case _:
                return self._inform(message, context)
        return None

    def _actors(self) -> tuple[Ref, ...]:
        return (*self._gates.refs, *(each.pulse.ref for each in self._members))

    def _inform(self, message: object, context: Context) -> object:
        match message:
            case requests.Record():
                if self._readers.add(message, context):
                    self._events.subscribe(requests.Subscribe(message.reader, 0))
                else:
                    self._readers.tell(message, self._actors())
            case LookAround():
                self._readers.look(message, self._actors(), context)
            case requests.Resume():
                return self._pauses.resume(message)
            case requests.Hello():
                return self._greet(message.handshake, message.who)
            case requests.Who():
                return self._roster()
        return None

    def _greet(self, theirs: Handshake | None, who: str) -> WiringError | None:
        refusal = None if theirs is None else self._handshake.refusal(theirs, who)
        if theirs is not None and refusal is None:
            self._handshake = self._handshake.completed(theirs)
        return refusal

    def _roster(self) -> requests.Roster:
        return requests.Roster(
            cause=self._gates.cause,
            gates=self._gates.refs,
            sentinels=tuple(each.pulse.ref for each in self._members),
            restarts=self._gates.restarts,
            chain=tuple(self._gates.tunings.names),
            events=self._events.count,
            attached=tuple(self._members.names),
        )

    def _open(self, context: Context) -> tuple[Ref, ...]:
        missing = self._gates.open(context)
        for actor in self._members.find_all(context):
            self._events.publish(Failure(ActorFailed(f"{actor} ended while there was no conductor")))
        for gate in missing if self._gates.cause is None else ():
            self._events.publish(self._gates.replace(gate, None, context))
        self._gates.lease(context)
        context.tell_later(self._period, _Beat())
        return self._gates.refs

    # Sentinels come and go

    def _attach(self, message: requests.Attach, context: Context) -> WiringError | None:
        sentinel, who = message.sentinel, f"sentinel {message.sentinel.name!r}"
        if self._gates.cause is not None:
            return WiringError(f"{who} cannot join: the network has failed: {self._gates.cause}")
        window = self._members.window(sentinel)
        if isinstance(window, WiringError):
            return window
        if (refusal := self._greet(message.handshake, who)) is not None:
            return refusal
        position = self._pauses.take_place(sentinel.name) if sentinel.kind == "train" else None
        attached = self._members.start(sentinel, window, position, message.place, context)
        if isinstance(attached, WiringError):
            return attached
        self._gates.lease(context)
        self._order(attached, context)
        self._readers.greet(attached.pulse.ref)
        self._events.publish(Joined(sentinel.name, sentinel.kind))
        return None

    def _detach(self, message: requests.Detach) -> None:
        if (attached := self._members.get(message.sentinel)) is None:
            message.reply_to.tell(requests.Detached(message.sentinel, self._members.unknown(message.sentinel)))
        else:
            attached.detachers.append(message.reply_to)
            attached.leaving = True

    def _set(self, message: requests.Set, context: Context) -> ActorNotFound | WiringError | None:
        """Change settings of a sentinel or a gate; or return why not."""
        name, settings, tunings = message.name, message.settings, self._gates.tunings
        attached = self._members.get(name)
        if attached is None and name not in tunings:
            there = f"gates {', '.join(tunings.names)}; sentinels {', '.join(self._members.names) or 'none'}"
            return ActorNotFound(f"there is neither a gate nor a sentinel {name!r} in this network; there are: {there}")
        if attached is not None and name in tunings:
            return WiringError(f"a gate and a sentinel are named {name!r}; attach the sentinel under another name")
        if not settings:
            return WiringError(f"say what to set of {name!r}, such as in_flight=1 of a sentinel or lr=0.01 of a gate")
        refusal = tunings.change(name, settings) if attached is None else self._members.change(name, settings)
        if refusal is None:
            self._state.write()
            self._gates.lease(context)
            if attached is not None:
                self._order(attached, context)
            self._events.publish(Changed(name, settings))
        return refusal

    def _held(self, message: Held) -> None:
        if (attached := self._members.find(message.actor)) is not None:
            self._pauses.held(attached.member.name, message)

    def _left(self, message: Left, context: Context) -> None:
        if (attached := self._members.find(message.actor)) is not None:
            self._pauses.stands(attached.member.name, message.position)
            self._dismiss(attached, message.error, context)

    def _dismiss(self, attached: Attached, error: Exception | None, context: Context, *, ended: bool = False) -> None:
        name, actor = attached.member.name, attached.pulse.ref
        self._members.strike(attached.member)
        if ended:
            self._state.write()
        else:
            self._gates.retire(actor, context)
        self._watchdog.forget(actor, context.now())
        self._gates.lease(context)
        if error is not None:
            self._events.publish(Failure(error, name))
        self._events.publish(Departure(name, had_end=attached.member.ends))
        for detacher in attached.detachers:
            detacher.tell(requests.Detached(name))
        self._pauses.left(name)

    # Heartbeats and orders

    def _beat(self, context: Context) -> None:
        context.tell_later(self._period, _Beat())
        now, lease = context.now(), self._settings.lease
        for gate in self._gates.tick(context):
            self._events.publish(self._gates.replace(gate, TimeoutError(f"no heartbeat for {lease:g} s"), context))
        for attached in self._members:
            if attached.pulse.is_silent(now, self._settings):
                error = ActorFailed(
                    f"sentinel {attached.member.name!r} sent no heartbeat for {lease:g} s and counts as dead; if its "
                    "loss, a metric or `until` may take that long, launch with Supervision(lease=...)"
                )
                self._dismiss(attached, error, context)
            else:
                self._order(attached, context)
        if (report := self._watchdog.check(now)) is not None:
            self._events.publish(Alarm(f"{report}\n{context.look()}"))

    def _alive(self, sign: Alive, context: Context) -> None:
        if (attached := self._members.find(sign.actor)) is not None:
            attached.pulse.beat(sign, context.now())
        elif sign.actor in self._gates.refs:
            self._gates.alive(sign, context)
            self._pass_on(sign)
        else:
            return
        self._watchdog.saw(sign, context.now())

    def _pass_on(self, sign: Alive) -> None:
        """Tell sentinels which of their batches a gate has in hand, and which of sentinels that have left.

        One of the latter may hang, and others wait for it.
        """
        there = {each.incarnation for each in self._members.members}
        for attached in self._members:
            others = there - {attached.member.incarnation}
            in_hand = tuple(each for each in sign.in_hand if each.batch.incarnation not in others)
            attached.pulse.ref.tell(replace(sign, in_hand=in_hand))

    def _order_if_changed(self, context: Context) -> None:
        leaving = tuple(each.member.name for each in self._members if each.leaving)
        now = (self._state.term, self._gates.chain is None, self._gates.cause, self._pauses.number, leaving)
        if now != self._ordered:
            self._ordered = now
            for attached in self._members:
                self._order(attached, context)

    def _order(self, attached: Attached, context: Context) -> None:
        orders = Orders(
            number=MessageNumber(self._state.conductors, next(self._numbers)),
            conductor=context.me,
            term=self._state.term,
            chain=self._gates.chain,
            window=attached.member.window,
            pause=self._pauses.number if attached.member.kind == "train" else None,
            leave=attached.leaving,
            cause=self._gates.cause,
            blame=self._gates.blame,
            auto=attached.member.auto,
            accumulates=self._gates.accumulates,
        )
        attached.pulse.missed += 1
        attached.pulse.ref.tell(orders)

    def _ended(self, message: Ended, context: Context) -> None:
        if (attached := self._members.find(message.actor)) is not None:
            error = ActorFailed(f"sentinel {attached.member.name} failed: {message.reason!r}")
            error.__cause__ = message.reason
            self._dismiss(attached, error, context, ended=True)
        elif (gate := self._gates.ended(message.actor)) is not None:
            self._watchdog.forget(message.actor, context.now())
            self._events.publish(self._gates.replace(gate, message.reason, context))
        else:
            self._readers.forget(message.actor)
            self._pauses.forget(message.actor)
            self._events.unsubscribe(requests.Unsubscribe(message.actor))

    def _present(self) -> tuple[int, int]:
        """Return how many sentinels are attached, and how many of them will end by themselves."""
        return len(self._members), sum(each.ends for each in self._members.members)
