"""Actors that the contract of all engines is tested with.

They report to an inbox and hold nothing that could not live in another process. Such a process imports this module,
without pytest; there, and under `python -O`, an `assert` would say nothing, so they raise where a promise is broken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from akkordeon.actor import Actor, Context, Ended, Engine, Ref, Urgent


@dataclass(frozen=True)
class Numbered:
    sender: str
    number: int


@dataclass(frozen=True)
class Pressing(Urgent):
    number: int


@dataclass(frozen=True)
class Fail:
    where: str


@dataclass(frozen=True)
class Flood:
    to: Ref
    amount: int


@dataclass(frozen=True)
class Box:
    label: str
    tensor: Tensor


class Forwarder(Actor):
    """Passes what it is told to somebody."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        self.to.tell(message)
        return "passed on"


class Flooder(Actor):
    """Sends many numbered messages in one turn."""

    def receive(self, message: object, context: Context) -> object:
        if not isinstance(message, Flood):
            raise TypeError(f"expected a Flood, not {message!r}")
        for number in range(message.amount):
            message.to.tell(Numbered(context.me.name, number))
        return None


class Fragile(Actor):
    """Raises where it is told to."""

    def receive(self, message: object, context: Context) -> object:
        if message == Fail("receive"):
            raise ValueError("in receive")
        if message == Fail("exit"):
            raise SystemExit(3)
        if message == Fail("work"):
            context.compute(partial(_raise, "in work"), _ignore)
        if message == Fail("then"):
            context.compute(_nothing, partial(_raise_on, "in then"))
        if message == Fail("in order"):
            context.in_order(partial(_raise, "in order"))
        return "fine"


class Unborn(Actor):
    def __init__(self) -> None:
        raise ValueError("in make")

    def receive(self, message: object, context: Context) -> object:
        return None


class Computer(Actor):
    """Asks for a computation per message; reports what it sees of itself in every turn."""

    def __init__(self, to: Ref) -> None:
        self.to = to
        self.outstanding = 0
        self.in_turn = False

    def receive(self, message: object, context: Context) -> object:
        self._begin_turn()
        if message == "mark":
            context.in_order(partial(self.to.tell, "mark"))
        elif message == "outstanding":
            self.in_turn = False
            return self.outstanding
        else:
            if not isinstance(message, int):
                raise TypeError(f"expected a number, not {message!r}")
            self.outstanding += 1
            self.to.tell(("outstanding", self.outstanding))
            context.compute(partial(_square, message), self._done)
        self.in_turn = False
        return None

    def _done(self, value: int) -> None:
        self._begin_turn()
        self.outstanding -= 1
        self.to.tell(value)
        self.in_turn = False

    def _begin_turn(self) -> None:
        if self.in_turn:
            raise AssertionError("two turns at a time")
        self.in_turn = True


class Lossy(Actor):
    """Tells whether messages to and from it may be lost."""

    def receive(self, message: object, context: Context) -> object:
        return context.loses_messages


class TwoComputations(Actor):
    def receive(self, message: object, context: Context) -> object:
        context.compute(_nothing, _ignore)
        context.compute(_nothing, _ignore)
        return None


class Alarm(Actor):
    """Tells itself things later, and passes on when they came."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        if message == "set":
            now = context.now()
            for seconds in (0.3, 0.1, 0.2):
                context.tell_later(seconds, ("due", now + seconds))
        elif isinstance(message, tuple):
            self.to.tell((message[1], context.now()))
        return None


class Parent(Actor):
    """Spawns, watches and stops, as engines let outside code do."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        match message:
            case "spawn":
                child = context.spawn("child", Fragile)
                context.watch(child, context.me)
                self.to.tell(context.find("child") == child)
            case "stop":
                context.stop(context.find("child"))
            case Ended():
                self.to.tell(message)
        return None


class Asker(Actor):
    """Does what an actor must not."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        try:
            self.to.ask("?", timeout=10.0)
        except RuntimeError as error:
            return str(error)
        return "answered"


def _nothing() -> None:
    return None


def _ignore(value: object) -> None:
    return None


def _raise(text: str) -> None:
    raise ValueError(text)


def _raise_on(text: str, value: object) -> None:
    raise ValueError(text)


def _square(number: int) -> int:
    torch.randn(8, 8) @ torch.randn(8, 8)
    return number**2


class Busy(Actor):
    """Computes whatever it is told, and computes until an urgent message has come; tells in which order it saw them."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        self.to.tell(message)
        if isinstance(message, Pressing):
            return None
        context.compute(_nothing, lambda _: self.to.tell(("computed", message)))
        return None


class Crowd(Actor):
    """Tells somebody many things in one turn, urgent ones last."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        for number in range(5):
            self.to.tell(number)
        for number in range(3):
            self.to.tell(Pressing(number))
        return None


class Cast:
    """Actors that tests of one engine may share, each spawned when it is first asked for; they report to `inbox`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.inbox = engine.inbox("the test")
        self._actors: dict[str, Ref] = {}

    def forwarder(self) -> Ref:
        return self._get("forwarder", partial(Forwarder, self.inbox.ref))

    def flooder(self, number: int = 1) -> Ref:
        return self._get(f"flooder {number}", Flooder)

    def computer(self, computations: int = 1) -> Ref:
        name = f"computer of {computations}"
        return self._get(name, partial(Computer, self.inbox.ref), computations)

    def idle(self) -> Ref:
        return self._get("idle", Fragile)

    def _get(self, name: str, make: Callable[[], Actor], computations: int = 1) -> Ref:
        if name not in self._actors:
            self._actors[name] = self.engine.spawn(name, make, computations=computations)
        return self._actors[name]
