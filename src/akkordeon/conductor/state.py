"""Holds all that outlives a conductor: who belongs to the network, and the latest copy of each gate."""

from dataclasses import dataclass, field

from akkordeon.messages.leases import Copy, Setting
from akkordeon.messages.reports import Kind


@dataclass(frozen=True, slots=True)
class Member:
    """An attached sentinel, as the conductor remembers it.

    Args:
        name: of the sentinel.
        incarnation: distinguishes sentinels of one name; unique in a network.
        actor: name of the actor.
        kind: what the sentinel does.
        ends: whether it ends by itself.
        window: how many batches it may have in flight.
        auto: the sentinel searches for the best number itself, up to the window.
    """

    name: str
    incarnation: int
    actor: str
    kind: Kind
    ends: bool
    window: int
    auto: bool = False


@dataclass
class ConductorState:
    """The state of a conductor; another one that is given it takes over the network.

    The conductor changes it in place, calls `write`, and only then acts on the change.

    Attributes:
        conductors: how many there were.
        term: number of the latest wiring.
        gates: the actor of each gate, by the gate's name, in the order of the chain; empty before the first conductor.
        sentinels: those attached, by name.
        names: of all sentinels that were ever attached.
        newest: the highest incarnation of a sentinel so far.
        max_in_flight: the most batches that training sentinels were ever allowed to have in flight together.
        retired: actors that must end, and may be out of reach.
        cause: why the network has failed; None if it has not.
        settings: of gates, by gate and name, that were changed since the network began.
        copies: the latest of each gate, by name.
    """

    conductors: int = 0
    term: int = 1
    gates: dict[str, str] = field(default_factory=dict)
    sentinels: dict[str, Member] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    newest: int = 0
    max_in_flight: int = 0
    retired: set[str] = field(default_factory=set)
    cause: str | None = None
    settings: dict[str, dict[str, Setting]] = field(default_factory=dict)
    copies: dict[str, Copy] = field(default_factory=dict)

    def write(self) -> None:
        """Make changes of anything but `copies` durable: in memory, they last as long as this object.

        Rule of the protocol; tested by switching it off.
        """

    def keep(self, copy: Copy) -> None:
        """Replace the copy of a gate."""
        self.copies[copy.state.name] = copy
