"""The port between actors and engines: all that either side may know of the other.

An actor handles one message at a time and touches only its own state, so it needs no lock. Heavy work goes through
`Context.compute`: **take, work, then**. The message is taken, `work` runs beside the actor, and `then` runs as the
actor's own turn, in the order of asking. The next message is taken only while fewer than `computations` are
outstanding, so a computation always starts from the newest state.

Every engine keeps the following, and one suite of tests holds each to it:

- `tell` is one way and never blocks. Messages of one sender to one receiver arrive in order; nothing is promised
  between senders. A message may be lost when a peer dies; at any time, on an engine that `loses_messages`.
- `ask` is for small control messages from outside actors. It may overtake what was told, and always has a time limit.
- An `Urgent` message overtakes what was told before, but no other urgent one; it is taken while computations run.
- An exception in `receive`, in `work` or in `then` ends the actor and reaches its watchers. That news may overtake
  what the actor told last. Those it spawned live on.
- A message is an immutable plain value of an importable class; tensors may stand anywhere in it.
- The receiver may keep what it received. Nobody writes into a tensor after sending it, or into one that was received.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Actor(ABC):
    """Something that lives on an engine and answers messages, one at a time."""

    @abstractmethod
    def receive(self, message: object, context: "Context") -> object:
        """Handle one message, in the actor's own turn. What it returns answers an `ask`; what it raises ends it."""

    def look(self, now: float) -> str:  # noqa: ARG002
        """Describe what it has in hand, for a person to read; may be called at any time, from any thread."""
        return ""


Make = Callable[[], Actor]
"""Makes an actor, where it will live."""


class Urgent:
    """Base of messages that must not wait behind others, nor for a computation to end, such as heartbeats.

    Handling one asks for no computation.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """From the engine, to each watcher, once: an actor has ended.

    Args:
        actor: which.
        reason: what it raised, or an `ActorFailed` with its type and text where the original cannot travel; None when
            it was stopped.
    """

    actor: "Ref"
    reason: BaseException | None


class Ref(Protocol):
    """The address of an actor. Can be passed around, sent, compared and hashed."""

    @property
    def name(self) -> str:
        """The name the actor was spawned under."""

    def tell(self, message: object) -> None:
        """Send a message. Never blocks, never raises for a peer that has ended."""

    def ask(self, message: object, *, timeout: float) -> Any:
        """Send a message and wait at most `timeout` seconds for what `receive` returns.

        For code outside actors only: inside one it would hold up a worker.

        Raises:
            NoAnswer: no answer came in time.
            ActorFailed: the actor has ended, or ended while handling the message.
        """


class Inbox(Protocol):
    """A mailbox for code outside actors: it can be sent messages, and can watch."""

    @property
    def ref(self) -> Ref:
        """The address to give to actors."""

    def take(self, *, timeout: float) -> Any:
        """Return the next message, waiting at most `timeout` seconds (virtual ones in the simulation).

        Raises:
            NoAnswer: nothing came in time.
        """

    def close(self) -> None:
        """Close the inbox; messages to it are dropped from now on."""


class Actors(Protocol):
    """What actors (by their `Context`) and code outside actors (by the `Engine`) may do with actors."""

    @property
    def loses_messages(self) -> bool:
        """Whether a message between two actors that live may be lost."""
        return False

    def spawn(
        self, name: str, make: Make, *, computations: int = 1, blocking: bool = False, place: str | None = None
    ) -> Ref:
        """Start an actor, made by `make` where it will live, before its first message.

        Args:
            name: unique among the living actors of the engine.
            make: what it raises ends the actor and reaches its watchers.
            computations: how many computations the actor may have outstanding.
            blocking: the actor may block for ever in `receive` (a data loader does), so it must not hold a worker.
            place: where it lives, one of `places`. By default it lives at the place of its spawner's engine.

        Raises:
            NameTaken: an actor of that name is alive.
            ActorNotFound: there is no such place; lists those there are.
        """

    def find(self, name: str) -> Ref:
        """Return the living actor of that name.

        Raises:
            ActorNotFound: there is none; lists those that exist.
        """

    def watch(self, ref: Ref, watcher: Ref) -> None:
        """Tell `watcher` `Ended` once, however the actor ends; at once if it has ended already."""

    def stop(self, ref: Ref) -> None:
        """End an actor after the turn it is in; unread messages and unfinished computations are dropped.

        The caller sees it ended from now on; others may have to wait for that news.
        """

    def look(self) -> str:
        """Describe, for a person to read, what waits in each mailbox and what the workers do, with their stacks."""

    def places(self) -> tuple[str, ...]:
        """Return all places where actors may live, beginning with the caller's own, which is kept open from now on.

        None where all actors are in one process.
        """
        return ()


class Outstanding(Protocol):
    """A computation that an actor has asked for."""

    done: bool
    """Whether it is over, and only its result waits for its turn."""

    began: float
    """When it began, on the clock of `Usage`."""

    over: float
    """When it was done."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Where the time of an actor has gone since it was made, in seconds.

    Computations are left out: the actor knows what they were.

    Args:
        now: when that was, on a clock that never jumps.
        seconds: since it was made.
        turns: that handled messages, by the type of the message; None is the turn that made the actor.
        thens: that took results, by the type of the message whose turn asked for the computation.
        ready: in no turn and no computation, with something to do: no worker was free.
        starved: likewise, with nothing to do.
        waits: of some of the latest messages, in the mailbox, one by one.
    """

    now: float
    seconds: float
    turns: Mapping[type | None, float]
    thens: Mapping[type | None, float]
    ready: float
    starved: float
    waits: Sequence[float]


class Context(Actors, Protocol):
    """All that an actor may do besides handling messages."""

    @property
    def me(self) -> Ref:
        """The actor's own address."""

    def now(self) -> float:
        """Return seconds on a monotonic clock; virtual in the simulation."""

    def tell_later(self, seconds: float, message: object) -> None:
        """Tell the actor itself `message` in `seconds`. Cannot be called back."""

    def waiting(self) -> Sequence[object]:
        """Return the messages that wait for the actor, but for urgent ones."""

    def usage(self) -> Usage:
        """Return where the actor's time has gone; in its own turn only."""

    def compute(self, work: Callable[[], T], then: Callable[[T], None]) -> "Outstanding":
        """Run `work` beside the actor, and `then` on what it returns as the actor's own turn.

        `work` must touch no state of the actor. One computation per message.
        """

    def in_order(self, then: Callable[[], None]) -> None:
        """Run `then` as the actor's own turn, after all computations asked for so far."""


class Engine(Actors, Protocol):
    """Runs actors. Knows nothing of gates, sentinels or what messages mean."""

    address: str = ""
    """Where other processes find it, as "HOST:PORT"; empty where all actors are in one process."""

    computations: int = 1
    """How many computations of one actor at once pay."""

    def now(self) -> float:
        """Return seconds on the clock of the code outside actors, as `Context.now`."""

    def inbox(self, name: str, then: Callable[[object], None] | None = None) -> Inbox:
        """Open a mailbox for code outside actors.

        Args:
            name: unique among the living actors of the engine.
            then: is called with each message, on some thread, in place of `Inbox.take`; it must return soon.
        """

    def close(self) -> None:
        """End all actors and give back what the engine took. Calling it again does nothing."""
