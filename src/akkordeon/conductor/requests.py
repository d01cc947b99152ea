"""Requests of users to the conductor, and its answers."""

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
        place: where it lives; None is where the conductor does.
        handshake: of the process that attaches it; None in the process of the network.
    """

    sentinel: Sentinel
    place: str | None = None
    handshake: Handshake | None = None


@dataclass(frozen=True, slots=True)
class Detach:
    """From outside: let a sentinel leave; `reply_to` gets `Detached` when it has."""

    sentinel: str
    reply_to: Ref


@dataclass(frozen=True, slots=True)
class Detached:
    """From the conductor, the answer to `Detach`: a sentinel has left, or was not there.

    Args:
        sentinel: its name.
        error: no sentinel of that name was ever attached.
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
    """From outside: send `watcher` every event after that number, as a `Notice`; it has received all others."""

    watcher: Ref
    after: int


@dataclass(frozen=True, slots=True)
class Record:
    """From outside, an ask: send `reader` all events, so far and to come, and how all stand. Answered with None.

    Args:
        reader: who gets events, as `Notice`, and each `GateStatus` and `SentinelStatus`.
        every: seconds between two of the latter.
        trace: whether batches are traced; asked again, it changes that.
    """

    reader: Ref
    every: float
    trace: bool = False


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """From outside: send the watcher nothing more; it has received all events up to a number."""

    watcher: Ref
    after: int = 0


@dataclass(frozen=True, slots=True)
class Who:
    """From outside, an ask: which actors are there? Answered with a `Roster`."""


@dataclass(frozen=True, slots=True)
class Roster:
    """The actors of a network.

    Args:
        cause: why the network has failed; None if it has not.
        gates: those that live now.
        sentinels: those attached.
        restarts: of gates, so far.
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
        handshake: of the process that asks.
        who: what to call it in an error.
    """

    handshake: Handshake
    who: str


@dataclass(frozen=True, slots=True)
class Close:
    """From outside, an ask: let the process that launched the network close it. Answered with None."""


@dataclass(frozen=True, slots=True)
class Pause:
    """From outside: pause all training; `reply_to` gets `Paused` when no training batch is in flight any more.

    Args:
        reply_to: asks for it; one pause at a time is granted.
        seconds: its timeout; training goes on some time after that if no `Resume` comes. None lasts until one comes, or
            `reply_to` ends.
    """

    reply_to: Ref
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Paused:
    """From the conductor, the answer to `Pause`: gates do not learn until `Resume`.

    Args:
        positions: of each training sentinel in its data, by name, those that have left among them.
        error: why there is no pause.
    """

    positions: Mapping[str, Position]
    error: AkkordeonError | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """From outside, an ask: let training go on. Answered with whether it was paused until now.

    Args:
        reply_to: as in `Pause`; another one changes nothing.
    """

    reply_to: Ref
