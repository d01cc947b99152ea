"""What the outside asks of the conductor, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass

from akkordeon.actor import Ref
from akkordeon.conductor.handshake import Handshake
from akkordeon.errors import ActorNotFound, AkkordeonError
from akkordeon.messages.states import Position
from akkordeon.sentinel.description import Sentinel


@dataclass(frozen=True, slots=True)
class Open:
    """From outside, an ask: start the gates. Answered with their refs."""


@dataclass(frozen=True, slots=True)
class Attach:
    """From outside, an ask: let a sentinel join. Answered with None, or with a `WiringError`.

    Args:
        sentinel: which.
        place: where it is to live; None is where the conductor does.
        papers: of who attaches it.
    """

    sentinel: Sentinel
    place: str | None = None
    papers: Handshake | None = None


@dataclass(frozen=True, slots=True)
class Detach:
    """From outside: let a sentinel leave; `reply_to` is told `Detached` when it has."""

    sentinel: str
    reply_to: Ref


@dataclass(frozen=True, slots=True)
class Detached:
    """From the conductor, to who asked for it: a sentinel has left, or was not there.

    Args:
        sentinel: its name.
        error: there never was one of that name.
    """

    sentinel: str
    error: ActorNotFound | None = None


@dataclass(frozen=True, slots=True)
class Set:
    """From outside, an ask: change settings. Answered with None, or with an `ActorNotFound` or a `WiringError`.

    Args:
        name: of a sentinel or a gate.
        settings: all of them, or none.
    """

    name: str
    settings: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Subscribe:
    """From outside: tell `watcher` every event after that number, as a `Notice`."""

    watcher: Ref
    after: int


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """From outside: tell it nothing more."""

    watcher: Ref


@dataclass(frozen=True, slots=True)
class Who:
    """From outside, an ask: who is there? Answered with a `Roster`."""


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is there.

    Args:
        cause: why the network has failed; None if it has not.
        gates: those that live now.
        sentinels: those attached.
        restarts: how many gates were made anew.
        chain: names of all gates.
        events: number of the latest event.
        attached: names of the sentinels.
    """

    cause: Exception | None
    gates: tuple[Ref, ...]
    sentinels: tuple[Ref, ...]
    restarts: int
    chain: tuple[str, ...]
    events: int
    attached: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hello:
    """From outside, an ask: may I join? Answered with None, or with a `WiringError`.

    Args:
        papers: of who asks.
        who: what to call him.
    """

    papers: Handshake
    who: str


@dataclass(frozen=True, slots=True)
class Close:
    """From outside, an ask: let whoever holds the network close it. Answered with None."""


@dataclass(frozen=True, slots=True)
class Pause:
    """From outside: hold all training; `reply_to` is told `Paused` when no batch of it is in flight any more.

    Args:
        reply_to: who asks; one pause at a time is granted.
        seconds: how long it is ready to wait; training goes on some time after that if nobody says `Resume`.
    """

    reply_to: Ref
    seconds: float


@dataclass(frozen=True, slots=True)
class Paused:
    """From the conductor, to who asked for it: gates stand still until `Resume`.

    Args:
        positions: where each training sentinel stands in its data, by name, those that have left among them.
        error: why the pause cannot be had.
    """

    positions: Mapping[str, Position]
    error: AkkordeonError | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """From outside, an ask: let training go on. Answered with whether it stood still until now.

    Args:
        reply_to: as in `Pause`; of anybody else it changes nothing.
    """

    reply_to: Ref
