"""Makes what engines hand out: the address of an actor, its context, and mailboxes for code outside actors."""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from akkordeon.actor import Actor, Actors, Context, Ref
from akkordeon.engines.mailbox import Mailbox
from akkordeon.errors import NoAnswer


class Runtime(Protocol):
    """What refs, contexts and inboxes need of the engine that runs an actor in this process."""

    def deliver(self, mailbox: Any, item: object) -> None:
        """Put a message on its way to a mailbox."""

    def ask(self, mailbox: Any, message: object, timeout: float) -> Any:
        """Do as `akkordeon.actor.Ref.ask` says."""

    def now(self, mailbox: Any = None) -> float:
        """Return the seconds on the clock that an actor sees; without one, on a clock that never jumps."""

    def later(self, mailbox: Any, seconds: float, message: object) -> None:
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


class ActorContext:
    """What one actor may do: it consists of methods of those that do it, so that no call passes through another.

    Args:
        actors: for what contexts and engines have in common.
        runtime: runs the actor.
        mailbox: of the actor.
        me: its address.
    """

    def __init__(self, actors: Actors, runtime: Runtime, mailbox: Mailbox, me: Ref) -> None:
        self.me = me
        self.spawn, self.find, self.watch, self.stop = actors.spawn, actors.find, actors.watch, actors.stop
        self.look, self.places = actors.look, actors.places
        self.now, self.tell_later = partial(runtime.now, mailbox), partial(runtime.later, mailbox)
        self.compute, self.in_order = mailbox.compute, mailbox.in_order
        self.waiting, self.usage = mailbox.waiting, partial(mailbox.usage, runtime.now)
        self._actors = actors

    @property
    def loses_messages(self) -> bool:
        """Whether a message between two actors that live may be lost."""
        return self._actors.loses_messages


class LocalInbox(Actor):
    """A mailbox for code outside actors: an actor that keeps what it receives. The engine sets its `ref`.

    Args:
        runtime: runs the actor.
        then: takes the messages, so that none is kept.
    """

    ref: Ref

    def __init__(self, runtime: Runtime, then: Callable[[object], None] | None = None) -> None:
        self._runtime = runtime
        self._then = then
        self._messages: deque[object] = deque()
        self._arrived = threading.Condition()

    def receive(self, message: object, context: Context) -> None:  # noqa: ARG002
        """Keep a message, and wake who waits for it; or hand it on."""
        if self._then is not None:
            self._then(message)
            return
        with self._arrived:
            self._messages.append(message)
            self._arrived.notify()

    def take(self, *, timeout: float) -> Any:
        """Do as `akkordeon.actor.Inbox.take` says."""
        with self._arrived:
            if not self._runtime.wait(self._arrived, self._messages, timeout):
                raise NoAnswer(f"nothing came to {self.ref.name} within {timeout:g} s")
            return self._messages.popleft()

    def close(self) -> None:
        """Do as `akkordeon.actor.Inbox.close` says."""
        self._runtime.stop(self.ref)
