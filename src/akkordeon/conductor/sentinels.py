"""Admits sentinels, and shares the batches in flight among them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from akkordeon.actor import Context, Ref
from akkordeon.conductor.heartbeat import Heartbeat
from akkordeon.conductor.state import ConductorState, Member
from akkordeon.errors import ActorFailed, ActorNotFound, WiringError
from akkordeon.messages.reports import Kind
from akkordeon.messages.states import Position
from akkordeon.sentinel.auto_window import MOST_IN_FLIGHT
from akkordeon.sentinel.description import Sentinel, Window
from akkordeon.sentinel.evaluation import EvaluationActor
from akkordeon.sentinel.training import TrainingActor

LATE_FACTOR = 4
"""Without a bound: a gradient may be late by this many times the batches that were ever in flight."""

MORE_ROOM = "Detach one of them, or give them a lower in_flight, or launch the network with a higher limit"


@dataclass(frozen=True, slots=True)
class Limits:
    """How many batches may be in flight at once.

    Args:
        max_staleness: of gradients in training: all training sentinels together get no more than this and one batch in
            flight, and gates skip gradients that come later still. None sets no limit, and gates skip what comes later
            than four times as many updates as there were ever batches in flight.
        capacity: of all kinds, over all sentinels.

    Raises:
        WiringError: a value is invalid.
    """

    max_staleness: int | None = None
    capacity: int = 1024

    def __post_init__(self) -> None:
        bound, capacity = self.max_staleness, self.capacity
        if bound is not None and (not isinstance(bound, int) or bound < 0):
            raise WiringError(f"max_staleness must be a whole number, at least 0, or None, not {bound}")
        if not isinstance(capacity, int) or capacity < 1:
            raise WiringError(f"capacity must be a whole number, at least 1, not {capacity}")

    def room(self, kind: Kind, members: Sequence[Member]) -> tuple[int, str, str]:
        """Return how many batches are left beside those of members, by which limit, and who holds the others."""
        holders = list(members)
        left, limit = self.capacity - sum(each.window for each in holders), f"capacity={self.capacity}"
        if kind == "train" and self.max_staleness is not None:
            training = [each for each in members if each.kind == "train"]
            if (room := self.max_staleness + 1 - sum(each.window for each in training)) < left:
                left, holders, limit = room, training, f"max_staleness={self.max_staleness}"
        return left, limit, ", ".join(f"{each.name!r} {each.window}" for each in holders)


@dataclass(slots=True)
class Attached:
    """A sentinel that is attached.

    Args:
        member: what the state of the conductor says about it.
        pulse: its heartbeats.
        leaving: its orders are to leave.
        detachers: get `Detached` when it has left.
    """

    member: Member
    pulse: Heartbeat
    leaving: bool = False
    detachers: list[Ref] = field(default_factory=list)


class Membership:
    """The sentinels of a network.

    Args:
        network: its name.
        limits: of batches in flight.
        state: of the conductor, perhaps from another one before.
    """

    def __init__(self, network: str, limits: Limits, state: ConductorState) -> None:
        self._network = network
        self._limits = limits
        self._state = state
        self._attached: dict[str, Attached] = {}

    def __iter__(self) -> Iterator[Attached]:
        return iter(list(self._attached.values()))  # the loop may change them

    def __len__(self) -> int:
        return len(self._attached)

    def get(self, name: str) -> Attached | None:
        """Return the sentinel of that name."""
        return self._attached.get(name)

    def find(self, actor: Ref) -> Attached | None:
        """Return the sentinel with that actor."""
        return next((each for each in self._attached.values() if each.pulse.ref == actor), None)

    @property
    def members(self) -> list[Member]:
        """The attached sentinels, in the order they were attached."""
        return [each.member for each in self._attached.values()]

    @property
    def names(self) -> list[str]:
        """Names of the attached sentinels."""
        return list(self._attached)

    @property
    def max_staleness(self) -> int:
        """How late a gradient may come, in updates."""
        bound = self._limits.max_staleness
        return LATE_FACTOR * self._state.max_in_flight if bound is None else bound

    # Sentinels join, change and leave

    def window(self, sentinel: Sentinel) -> int | WiringError:
        """Return how many batches a sentinel gets that wants to join, or why it cannot.

        Rule of the protocol; tested by switching it off.
        """
        if sentinel.name in self._attached:
            there = ", ".join(self.names)
            return WiringError(
                f"a sentinel named {sentinel.name!r} is attached; choose another name. Attached: {there}"
            )
        left, limit, holders = self._limits.room(sentinel.kind, self.members)
        if left < 1:
            return WiringError(
                f"sentinel {sentinel.name!r} cannot join: all batches that may be in flight at once ({limit}) are "
                f"granted: {holders}. {MORE_ROOM}"
            )
        return _granted(sentinel.in_flight, left)

    def start(
        self, sentinel: Sentinel, window: int, position: Position | None, place: str | None, context: Context
    ) -> Attached | WiringError:
        """Attach a sentinel: note it in the state of the conductor, then start its actor.

        Args:
            sentinel: describes it.
            window: how many batches it may have in flight.
            position: where it begins in its data; None is at the beginning.
            place: where it lives; None is where the conductor does.
            context: of the conductor.
        """
        state, name = self._state, sentinel.name
        state.newest += 1
        actor = f"sentinel#{state.newest} {name}" if name in state.names else f"sentinel {name}"
        auto = sentinel.in_flight == "auto"
        state.names.add(name)
        member = state.sentinels[name] = Member(name, state.newest, actor, sentinel.kind, sentinel.ends, window, auto)
        state.write()
        kind = TrainingActor if sentinel.kind == "train" else EvaluationActor
        make = partial(kind, sentinel, context.me, self._network, member.incarnation, position)
        try:
            return self._add(member, context.spawn(actor, make, place=place), context)
        except (ActorNotFound, ActorFailed) as error:
            self.strike(member)
            return WiringError(f"sentinel {sentinel.name!r} cannot join: {error}")

    def find_all(self, context: Context) -> list[str]:
        """Attach the sentinels of the conductor before; return the actors of those that have ended."""
        ended = []
        for member in list(self._state.sentinels.values()):
            try:
                self._add(member, context.find(member.actor), context)
            except ActorNotFound:
                self.strike(member)
                ended.append(member.actor)
        if ended:
            self._state.write()
        return ended

    def _add(self, member: Member, ref: Ref, context: Context) -> Attached:
        context.watch(ref, context.me)
        attached = self._attached[member.name] = Attached(member, Heartbeat(ref, context.now()))
        self._note_most()
        return attached

    def strike(self, member: Member) -> None:
        """Note in the state of the conductor that a sentinel has left, has ended, or could not be started."""
        self._attached.pop(member.name, None)
        del self._state.sentinels[member.name]

    def change(self, name: str, settings: Mapping[str, object]) -> WiringError | None:
        """Change all these settings of an attached sentinel; or none, and return why."""
        attached, who = self._attached[name], f"sentinel {name!r}"
        if unknown := [each for each in settings if each != "in_flight"]:
            return WiringError(f"{who} has no setting {unknown[0]!r}; it has: in_flight")
        in_flight: Any = settings["in_flight"]
        auto = in_flight == "auto" and attached.member.kind == "train"
        if not auto and (not isinstance(in_flight, int) or isinstance(in_flight, bool) or in_flight < 1):
            return WiringError(f"{who}: in_flight must be a whole number, at least 1, not {in_flight!r}")
        others = [each for each in self.members if each.name != name]
        left, limit, holders = self._limits.room(attached.member.kind, others)
        if not auto and in_flight > left:
            granted = f", and granted to others are {holders}" if holders else ""
            return WiringError(
                f"{who} cannot have in_flight={in_flight}, but at most {left}: {limit} holds for all batches that may "
                f"be in flight at once{granted}. {MORE_ROOM}"
            )
        attached.member = replace(attached.member, window=_granted(in_flight, left), auto=auto)
        self._state.sentinels[name] = attached.member
        self._note_most()
        return None

    def _note_most(self) -> None:
        training = sum(each.window for each in self.members if each.kind == "train")
        self._state.max_in_flight = max(self._state.max_in_flight, training)

    def unknown(self, name: str) -> ActorNotFound | None:
        """Return an error for a name that no sentinel ever had."""
        if name in self._state.names:
            return None
        there = ", ".join(self._attached) or "none"
        return ActorNotFound(f"no sentinel {name!r} was ever attached to this network; attached are: {there}")


def _granted(in_flight: Window, left: int) -> int:
    return min(MOST_IN_FLIGHT if in_flight == "auto" else in_flight, left)
