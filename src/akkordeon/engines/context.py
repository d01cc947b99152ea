"""What engines hand out: the address of an actor, its context, and mailboxes for code outside actors."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from typing_extensions import override

from akkordeon.actor import Actor, Actors, Context, Make, Ref
from akkordeon.engines.mailbox import Mailbox
from akkordeon.errors import NoAnswer


class Runtime(Protocol):
    """What refs, contexts and inboxes need of the engine that runs an actor in this process."""

    def deliver(self, mailbox: Any, item: object) -> None:
        """Put a message on its way to a mailbox."""

    def ask(self, mailbox: Any, message: object, timeout: float) -> Any:
        """Do as `akkordeon.actor.Ref.ask` says."""

    def now(self, mailbox: Any) -> float:
        """Return the seconds on the clock that an actor sees."""

    def later(self, seconds: float, mailbox: Any, message: object) -> None:
        """Deliver after a while."""

    def stop(self, ref: Ref) -> None:
        """End an actor."""

    def wait(self, arrived: threading.Condition, messages: deque[object], timeout: float) -> bool:
        """Wait until there are messages, with the lock of `arrived` held; return whether there are."""


class LocalRef:
    """The address of an actor in this process."""

    __slots__ = ("_runtime", "mailbox", "name")

    def __init__(self, runtime: Runtime, mailbox: Mailbox) -> None:
        self._runtime = runtime
        self.mailbox = mailbox
        self.name = mailbox.name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def tell(self, message: object) -> None:
        """Do as `akkordeon.actor.Ref.tell` says."""
        self._runtime.deliver(self.mailbox, message)

    def ask(self, message: object, *, timeout: float) -> Any:
        """Do as `akkordeon.actor.Ref.ask` says."""
        return self._runtime.ask(self.mailbox, message, timeout)


class Delegate(Actors):
    """Passes on what engines and contexts have in common.

    Args:
        actors: does it.
    """

    def __init__(self, actors: Actors) -> None:
        self._actors = actors

    @override
    def spawn(
        self, name: str, make: Make, *, computations: int = 1, blocking: bool = False, place: str | None = None
    ) -> Ref:
        return self._actors.spawn(name, make, computations=computations, blocking=blocking, place=place)

    @override
    def find(self, name: str) -> Ref:
        return self._actors.find(name)

    @override
    def watch(self, ref: Ref, watcher: Ref) -> None:
        self._actors.watch(ref, watcher)

    @override
    def stop(self, ref: Ref) -> None:
        self._actors.stop(ref)

    @override
    def look(self) -> str:
        return self._actors.look()

    @override
    def places(self) -> tuple[str, ...]:
        return self._actors.places()


class ActorContext(Delegate, Context):
    """What one actor may do.

    Args:
        actors: for what contexts and engines have in common.
        runtime: runs the actor.
        mailbox: of the actor.
        me: its address.
    """

    def __init__(self, actors: Actors, runtime: Runtime, mailbox: Mailbox, me: Ref) -> None:
        super().__init__(actors)
        self._me = me
        self._runtime = runtime
        self._mailbox = mailbox

    @property
    @override
    def me(self) -> Ref:
        return self._me

    @override
    def now(self) -> float:
        return self._runtime.now(self._mailbox)

    @override
    def tell_later(self, seconds: float, message: object) -> None:
        self._runtime.later(seconds, self._mailbox, message)

    @override
    def compute(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._mailbox.compute(work, then)

    @override
    def in_order(self, then: Callable[[], None]) -> None:
        self._mailbox.in_order(then)


class LocalInbox(Actor):
    """A mailbox for code outside actors: an actor that keeps what it receives. The engine sets its `ref`."""

    ref: Ref

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._messages: deque[object] = deque()
        self._arrived = threading.Condition()

    @override
    def receive(self, message: object, context: Context) -> object:
        with self._arrived:
            self._messages.append(message)
            self._arrived.notify()
        return None

    def take(self, *, timeout: float) -> Any:
        """Do as `akkordeon.actor.Inbox.take` says."""
        with self._arrived:
            if not self._runtime.wait(self._arrived, self._messages, timeout):
                raise NoAnswer(f"nothing came to {self.ref.name} within {timeout:g} s")
            return self._messages.popleft()

    def close(self) -> None:
        """Do as `akkordeon.actor.Inbox.close` says."""
        self._runtime.stop(self.ref)
