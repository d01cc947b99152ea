"""What the simulation engine gives to others: addresses of actors, their contexts, and mailboxes for the outside."""

from collections import deque
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from akkordeon.actor import Actor, Ref
from akkordeon.engines.mailbox import Ask
from akkordeon.engines.simulation.actors import SimActor
from akkordeon.errors import NoAnswer

if TYPE_CHECKING:
    from akkordeon.engines.simulation.engine import Stepped


class Address:
    """The address of an actor on this engine."""

    __slots__ = ("_engine", "body", "name")

    def __init__(self, engine: "Stepped", body: SimActor) -> None:
        self._engine = engine
        self.body = body
        self.name = body.name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def tell(self, message: object) -> None:
        """See `akkordeon.actor.Ref.tell`."""
        self._engine.send(self.body, message)

    def ask(self, message: object, *, timeout: float) -> Any:
        """See `akkordeon.actor.Ref.ask`."""
        ask = Ask(message)
        self._engine.question(self.body, ask)
        if not self._engine.run(until=lambda: ask.answer.done() and self.body.answering is not ask, seconds=timeout):
            raise NoAnswer(f"{self.name} did not answer {type(message).__name__} within {timeout:g} s")
        return ask.answer.result()


def body_of(ref: Ref) -> SimActor:
    """Return whose address it is."""
    assert isinstance(ref, Address)
    return ref.body


class Scope:
    """What one actor may do."""

    def __init__(self, engine: "Stepped", body: SimActor) -> None:
        self._engine = engine
        self._body = body
        self.me: Ref = Address(engine, body)
        self.random_lock: AbstractContextManager[object] = nullcontext()
        self.compute = body.compute
        self.in_order = body.in_order
        self.spawn = engine.spawn
        self.find = engine.find
        self.watch = engine.watch
        self.stop = engine.stop
        self.look = engine.look
        self.places = engine.places

    def now(self) -> float:
        """See `akkordeon.actor.Context.now`."""
        return self._engine.time + self._body.host.offset

    def tell_later(self, seconds: float, message: object) -> None:
        """See `akkordeon.actor.Context.tell_later`."""
        self._engine.later(seconds, self._body, message)


class SimInbox(Actor):
    """A queue that actors can tell things to: an actor that passes them on."""

    ref: Ref

    def __init__(self, engine: "Stepped") -> None:
        self._messages: deque[object] = deque()
        self._engine = engine

    def receive(self, message: object, context: object) -> object:  # noqa: ARG002
        """Keep it."""
        self._messages.append(message)
        return None

    def take(self, *, timeout: float) -> Any:
        """See `akkordeon.actor.Inbox.take`."""
        if not self._engine.run(until=lambda: self._messages, seconds=timeout):
            raise NoAnswer(f"nothing came to {self.ref.name} within {timeout:g} s")
        return self._messages.popleft()

    def close(self) -> None:
        """See `akkordeon.actor.Inbox.close`."""
        self._engine.stop(self.ref)
