"""Who is attached to a network, and how many batches each may have out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from akkordeon.actor import Ref
from akkordeon.conductor.heartbeat import Heartbeat, Leases
from akkordeon.conductor.limits import Limits
from akkordeon.conductor.state import Member, Register
from akkordeon.errors import ActorNotFound, WiringError
from akkordeon.sentinel.description import Sentinel


@dataclass(slots=True)
class Attached:
    """A sentinel that is attached.

    Args:
        member: what is written down of it.
        pulse: when it was last heard of.
        leaving: it was told to.
        detachers: who wants to know when it has left.
    """

    member: Member
    pulse: Heartbeat
    leaving: bool = False
    detachers: list[Ref] = field(default_factory=list)


class Membership:
    """The sentinels of a network.

    Args:
        limits: of what may be in flight.
        before: what another conductor knew of those that ever were.
    """

    def __init__(self, limits: Limits, before: Register | None = None) -> None:
        self._limits = limits
        self._attached: dict[str, Attached] = {}
        self.names: set[str] = set() if before is None else set(before.names)
        self.newest = 0 if before is None else before.newest
        self.max_in_flight = 0 if before is None else before.max_in_flight

    def __iter__(self) -> Iterator[Attached]:
        """Those that are attached; they may be changed meanwhile."""
        return iter(list(self._attached.values()))

    def __len__(self) -> int:
        return len(self._attached)

    def get(self, name: str) -> Attached | None:
        """Return the one of that name."""
        return self._attached.get(name)

    def find(self, actor: Ref) -> Attached | None:
        """Return the one that is that actor."""
        return next((each for each in self._attached.values() if each.pulse.ref == actor), None)

    @property
    def members(self) -> list[Member]:
        """What is written down of them."""
        return [each.member for each in self._attached.values()]

    @property
    def present(self) -> list[str]:
        """Their names."""
        return list(self._attached)

    @property
    def training(self) -> list[str]:
        """Names of those that train."""
        return [each.name for each in self.members if each.kind == "train"]

    def window(self, sentinel: Sentinel) -> int | WiringError:
        """Return how many batches a sentinel may have out; or why it cannot join."""
        if sentinel.name in self._attached:
            names = ", ".join(self._attached)
            return WiringError(
                f"a sentinel named {sentinel.name!r} is attached; choose another name. Attached: {names}"
            )
        return self._limits.window(sentinel, self.members)

    def enrol(self, sentinel: Sentinel, window: int) -> Member:
        """Return what is written down of a sentinel that joins."""
        self.newest += 1
        again = sentinel.name in self.names
        self.names.add(sentinel.name)
        actor = f"sentinel#{self.newest} {sentinel.name}" if again else f"sentinel {sentinel.name}"
        auto = sentinel.in_flight == "auto"
        return Member(sentinel.name, self.newest, actor, sentinel.kind, sentinel.ends, window, auto)

    def add(self, member: Member, pulse: Heartbeat) -> Attached:
        """Attach one that lives."""
        attached = self._attached[member.name] = Attached(member, pulse)
        self._note_most()
        return attached

    def change(self, name: str, settings: Mapping[str, object]) -> WiringError | None:
        """Set a sentinel that is attached otherwise; or return why that cannot be, and change nothing."""
        attached, who = self._attached[name], f"sentinel {name!r}"
        if unknown := [each for each in settings if each != "in_flight"]:
            return WiringError(f"{who} has no setting {unknown[0]!r}; it has: in_flight")
        in_flight: Any = settings["in_flight"]
        auto = in_flight == "auto" and attached.member.kind == "train"
        if not auto and (not isinstance(in_flight, int) or isinstance(in_flight, bool) or in_flight < 1):
            return WiringError(f"{who}: in_flight must be a whole number, at least 1, not {in_flight!r}")
        others = [each for each in self.members if each.name != name]
        window = self._limits.granted(attached.member, in_flight, others)
        if isinstance(window, WiringError):
            return window
        attached.member = replace(attached.member, window=window, auto=auto)
        self._note_most()
        return None

    def _note_most(self) -> None:
        training = sum(each.window for each in self.members if each.kind == "train")
        self.max_in_flight = max(self.max_in_flight, training)

    def remove(self, attached: Attached) -> None:
        """Forget one that has left."""
        del self._attached[attached.member.name]

    def attendance(self) -> Leases:
        """Return whose batches gates may handle, and how late they may be."""
        attached = tuple(each.incarnation for each in self.members)
        return Leases(attached, self.newest, self._limits.latest(self.max_in_flight))

    def unknown(self, name: str) -> ActorNotFound | None:
        """Return what is wrong with a name that never was anybody's."""
        if name in self.names:
            return None
        there = ", ".join(self._attached) or "none"
        return ActorNotFound(f"there never was a sentinel {name!r} in this network; attached are: {there}")
