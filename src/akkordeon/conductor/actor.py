"""The one actor per network that starts gates, watches over them, and knows who is attached.

It is not on the way of any batch. What it wants of gates and sentinels it tells them every so often, whole, so nothing
hangs on a single message. Everything that users get to see goes through it as a numbered stream of events (`Stream`).
What it must not forget it writes into the vault before it acts on it; another conductor can go on from there.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from akkordeon.actor import Actor, Context, Ended, Ref
from akkordeon.conductor.event_log import Stream
from akkordeon.conductor.gates import GateSupervisor, Restart
from akkordeon.conductor.handshake import Door, papers
from akkordeon.conductor.heartbeat import Heartbeat
from akkordeon.conductor.limits import Limits
from akkordeon.conductor.pauses import Over, Pauses
from akkordeon.conductor.placement import Placement
from akkordeon.conductor.requests import (
    Attach,
    Close,
    Detach,
    Detached,
    Hello,
    Open,
    Pause,
    Resume,
    Roster,
    Set,
    Subscribe,
    Unsubscribe,
    Who,
)
from akkordeon.conductor.sentinels import Attached, Membership
from akkordeon.conductor.state import Member, Register, Vault
from akkordeon.conductor.supervision import Supervision
from akkordeon.conductor.watchdog import Watchdog
from akkordeon.errors import ActorFailed, ActorNotFound, WiringError
from akkordeon.gate.actor import GateActor
from akkordeon.gate.description import Gate
from akkordeon.messages.leases import Alive, Copy, Held, Left, NoCopy, Orders
from akkordeon.messages.reports import Adjustment, Alarm, Closing, Departure, Failure, Report
from akkordeon.messages.states import GateState, Position
from akkordeon.sentinel.evaluation import EvaluationActor
from akkordeon.sentinel.training import TrainingActor


@dataclass(frozen=True, slots=True)
class _Tick:
    """To itself, every so often: tell everybody what is wanted of them, and see who is silent."""


class Conductor(Actor):
    """Starts gates, lets sentinels join and leave, and tells watchers what happens.

    Args:
        network: its name.
        gates: descriptions.
        states: of the gates, to begin with; empty to begin anew.
        positions: where training sentinels may take up again, by name.
        settings: how to watch over gates and sentinels.
        limits: of what may be in flight.
        placement: where gates are to live.
        vault: what a conductor before this one has left; or an empty one.
        life: makes a gate that lives.
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
        vault: Vault | None = None,
        life: Any = GateActor,
    ) -> None:
        self._network = network
        self._settings = settings or Supervision()
        self._vault = vault or Vault()
        self._before = self._vault.register
        self._number = 1 if self._before is None else self._before.conductor + 1
        self._gates = GateSupervisor(gates, states, self._settings, self._vault, self._number, life)
        self._gates.placement = placement or Placement()
        self._door = Door(papers(gates))
        self._members = Membership(limits or Limits(), self._before)
        self._told: object = None
        self._numbers = itertools.count(1)
        self._pauses = Pauses(positions or {})
        self._stream = Stream(self._present)
        self._watchdog = Watchdog(self._settings.stall)

    def receive(self, message: object, context: Context) -> object:
        """Handle what sentinels, gates, engine and the outside send."""
        match message:
            case Report() | Adjustment():
                self._stream.publish(message)
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
            case _Tick():
                self._tick(context)
            case Restart():
                self._gates.restart(message, context)
            case _:
                answer = self._answer(message, context)
                self._order_if_changed(context)
                return answer
        self._order_if_changed(context)
        return None

    def _answer(self, message: object, context: Context) -> object:
        """Handle what comes from outside."""
        match message:
            case Open():
                return self._open(context)
            case Attach():
                return self._attach(message, context)
            case Detach():
                self._detach(message)
            case Set():
                return self._set(message, context)
            case Subscribe():
                self._stream.subscribe(message)
                context.watch(message.watcher, context.me)
            case Unsubscribe():
                self._stream.unsubscribe(message)
            case Pause():
                self._pauses.begin(message, self._members.training, context)
            case Over():
                self._pauses.end_if(message)
            case Resume():
                return self._pauses.resume(message)
            case _:
                return self._inform(message)
        return None

    def _inform(self, message: object) -> object:
        match message:
            case Hello():
                return self._door.refusal(message.papers, message.who)
            case Who():
                sentinels = tuple(each.pulse.ref for each in self._members)
                gates = self._gates
                names = tuple(name for name, _ in gates.actors)
                attached = tuple(self._members.present)
                return Roster(gates.cause, gates.refs, sentinels, gates.restarts, names, self._stream.count, attached)
            case Close():
                self._stream.publish(Closing())
        return None

    def _open(self, context: Context) -> tuple[Ref, ...]:
        if self._before is None:
            self._write()
            self._gates.open(context)
        else:
            self._take_over(self._before, context)
        self._gates.lease(context)
        context.tell_later(self._beat, _Tick())
        return self._gates.refs

    def _take_over(self, register: Register, context: Context) -> None:
        """Go on where another conductor has ended."""
        missing = list(self._gates.reopen(dict(register.gates), register.term, context))
        self._gates.find_retired(register.retired, context)
        if register.cause is not None:
            self._gates.cause = ActorFailed(register.cause)
        self._gates.tunings.restore(register.settings)
        for member in register.sentinels:
            try:
                ref = context.find(member.actor)
            except ActorNotFound:
                self._stream.publish(Failure(ActorFailed(f"{member.actor} ended while there was no conductor")))
                continue
            context.watch(ref, context.me)
            self._members.add(member, Heartbeat(ref, context.now()))
        self._gates.attendance = self._members.attendance()
        self._write()
        for gate in missing if register.cause is None else ():
            self._replace(gate, None, context)

    # Sentinels come and go

    def _attach(self, message: Attach, context: Context) -> WiringError | None:
        sentinel = message.sentinel
        member = self._admit(message)
        if isinstance(member, WiringError):
            return member
        trains = sentinel.kind == "train"
        position = self._pauses.take_place(sentinel.name) if trains else None
        kind = TrainingActor if trains else EvaluationActor
        make = partial(kind, sentinel, context.me, self._network, member.incarnation, position)
        self._write([*self._members.members, member])
        try:
            ref = context.spawn(member.actor, make, place=message.place)
        except (ActorNotFound, ActorFailed) as error:
            return WiringError(f"sentinel {sentinel.name!r} cannot join: {error}")
        context.watch(ref, context.me)
        attached = self._members.add(member, Heartbeat(ref, context.now()))
        self._gates.attendance = self._members.attendance()
        self._gates.lease(context)
        self._order(attached, context)
        return None

    def _admit(self, message: Attach) -> Member | WiringError:
        """Return what is written down of a sentinel that joins; or why it cannot."""
        who = f"sentinel {message.sentinel.name!r}"
        if self._gates.cause is not None:
            return WiringError(f"{who} cannot join: the network has failed: {self._gates.cause}")
        window = self._members.window(message.sentinel)
        if isinstance(window, WiringError):
            return window
        return self._door.refusal(message.papers, who) or self._members.enrol(message.sentinel, window)

    def _detach(self, message: Detach) -> None:
        attached = self._members.get(message.sentinel)
        if attached is None:
            message.reply_to.tell(Detached(message.sentinel, self._members.unknown(message.sentinel)))
        else:
            attached.detachers.append(message.reply_to)
            attached.leaving = True

    def _set(self, message: Set, context: Context) -> ActorNotFound | WiringError | None:
        """Change settings of a sentinel or a gate; or say why that cannot be."""
        name, settings, tunings = message.name, message.settings, self._gates.tunings
        attached = self._members.get(name)
        if attached is None and name not in tunings:
            there = f"gates {', '.join(tunings.names)}; sentinels {', '.join(self._members.present) or 'none'}"
            return ActorNotFound(f"there is neither a gate nor a sentinel {name!r} in this network; there are: {there}")
        if attached is not None and name in tunings:
            return WiringError(f"a gate and a sentinel are named {name!r}; attach the sentinel under another name")
        if not settings:
            return WiringError(f"say what to set of {name!r}, such as in_flight=1 of a sentinel or lr=0.01 of a gate")
        refusal = tunings.change(name, settings) if attached is None else self._members.change(name, settings)
        if refusal is None:
            self._write()
            self._gates.attendance = self._members.attendance()
            self._gates.lease(context)
            if attached is not None:
                self._order(attached, context)
        return refusal

    def _held(self, message: Held) -> None:
        if (attached := self._members.find(message.actor)) is not None:
            self._pauses.held(attached.member.name, message)

    def _left(self, message: Left, context: Context) -> None:
        if (attached := self._members.find(message.actor)) is not None:
            self._pauses.stands(attached.member.name, message.position)
            self._dismiss(attached, message.error, context)

    def _dismiss(self, attached: Attached, error: Exception | None, context: Context, *, ended: bool = False) -> None:
        name = attached.member.name
        self._members.remove(attached)
        if not ended:
            self._gates.retired.append(attached.pulse.ref)
        self._write()
        if not ended:
            context.stop(attached.pulse.ref)
        self._watchdog.forget(attached.pulse.ref, context.now())
        self._gates.attendance = self._members.attendance()
        self._gates.lease(context)
        if error is not None:
            self._stream.publish(Failure(error, name))
        self._stream.publish(Departure(name, had_end=attached.member.ends))
        for detacher in attached.detachers:
            detacher.tell(Detached(name))
        self._pauses.left(name)

    # Signs of life, and orders

    @property
    def _beat(self) -> float:
        return min(self._settings.beat, self._settings.stall / 3)

    def _tick(self, context: Context) -> None:
        context.tell_later(self._beat, _Tick())
        now, lease = context.now(), self._settings.lease
        for gate in self._gates.tick(context):
            self._replace(gate, TimeoutError(f"no sign of life for {lease:g} s"), context)
        for attached in self._members:
            if attached.pulse.is_silent(now, self._settings):
                name = attached.member.name
                error = ActorFailed(
                    f"sentinel {name!r} gave no sign of life for {lease:g} s, and is taken for dead; if its loss, a "
                    "metric or `until` may take that long, launch with Supervision(lease=...)"
                )
                self._dismiss(attached, error, context)
            else:
                self._order(attached, context)
        if (report := self._watchdog.check(now)) is not None:
            self._stream.publish(Alarm(f"{report}\n{context.look()}"))

    def _alive(self, sign: Alive, context: Context) -> None:
        attached = self._members.find(sign.actor)
        if attached is not None:
            attached.pulse.beat(sign, context.now())
        else:
            self._gates.alive(sign, context)
        if attached is not None or sign.actor in self._gates.refs:
            self._watchdog.saw(sign, context.now())

    def _order_if_changed(self, context: Context) -> None:
        gates = self._gates
        leaving = tuple(each.member.name for each in self._members if each.leaving)
        now = (gates.term, gates.chain is not None, gates.cause, self._pauses.number, leaving)
        if now != self._told:
            self._told = now
            for attached in self._members:
                self._order(attached, context)

    def _order(self, attached: Attached, context: Context) -> None:
        gates = self._gates
        orders = Orders(
            number=(self._number, next(self._numbers)),
            conductor=context.me,
            term=gates.term,
            chain=gates.chain,
            window=attached.member.window,
            pause=self._pauses.number if attached.member.kind == "train" else None,
            leave=attached.leaving,
            cause=gates.cause,
            blame=gates.blame,
            auto=attached.member.auto,
        )
        attached.pulse.missed += 1
        attached.pulse.ref.tell(orders)

    # Ends

    def _ended(self, message: Ended, context: Context) -> None:
        attached = self._members.find(message.actor)
        if attached is not None:
            error = ActorFailed(f"sentinel {attached.member.name} failed: {message.reason!r}")
            error.__cause__ = message.reason
            self._dismiss(attached, error, context, ended=True)
        elif (gate := self._gates.ended(message.actor)) is not None:
            self._watchdog.forget(message.actor, context.now())
            self._replace(gate, message.reason, context)
        else:
            self._stream.unsubscribe(Unsubscribe(message.actor))

    def _replace(self, gate: str, reason: BaseException | None, context: Context) -> None:
        """End the term, and make a gate anew; or give up."""
        wait = self._gates.retire(gate, reason, context)
        self._write()
        if wait is None:
            assert self._gates.cause is not None
            self._stream.publish(Failure(self._gates.cause))
            return
        self._stream.publish(Alarm(self._gates.plan(gate, wait)))
        if wait > 0:
            context.tell_later(wait, Restart(gate))
        else:
            self._gates.restart(Restart(gate), context)

    def _write(self, members: Iterable[Member] | None = None) -> None:
        """Write down what must not be forgotten, before anything is done about it."""
        cause = self._gates.cause
        register = Register(
            network=self._network,
            conductor=self._number,
            term=self._gates.term,
            gates=self._gates.actors,
            sentinels=tuple(self._members.members if members is None else members),
            names=tuple(sorted(self._members.names)),
            newest=self._members.newest,
            max_in_flight=self._members.max_in_flight,
            retired=tuple(ref.name for ref in self._gates.retired),
            cause=None if cause is None else str(cause),
            settings=self._gates.tunings.rows,
        )
        self._vault.write(register)

    def _present(self) -> tuple[int, int]:
        """Return how many sentinels are attached, and how many of them will end by themselves."""
        return len(self._members), sum(each.ends for each in self._members.members)
