"""Actors that the tests of the timed simulation share, and what has been seen of them."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from akkordeon.actor import Actor, Context, Ended, Ref
from akkordeon.engines import Stepped


@dataclass(frozen=True)
class Tell:
    """Tell somebody these things, in one turn."""

    to: Ref
    things: tuple[object, ...]


@dataclass(frozen=True)
class Compute:
    """Compute, and then tell somebody something."""

    to: Ref
    thing: object


@dataclass(frozen=True)
class Spawn:
    name: str
    make: Callable[[], Actor]
    blocking: bool = False


@dataclass(frozen=True)
class Watch:
    ref: Ref


@dataclass(frozen=True)
class Stop:
    ref: Ref


@dataclass(frozen=True)
class Later:
    seconds: float
    message: object


class Puppet(Actor):
    """Does what it is told, and remembers when it was told what, by its own clock."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, object]] = []

    def receive(self, message: object, context: Context) -> object:
        self.seen.append((context.now(), message))
        match message:
            case Tell(to, things):
                for thing in things:
                    to.tell(thing)
            case Compute(to, thing):
                context.compute(_nothing, lambda _: to.tell(thing))
            case Spawn(name, make, blocking):
                return context.spawn(name, make, blocking=blocking)
            case Watch(ref):
                context.watch(ref, context.me)
            case Stop(ref):
                context.stop(ref)
            case Later(seconds, later):
                context.tell_later(seconds, later)
        return None


class Fragile(Puppet):
    """Tells, and fails in the same turn."""

    def receive(self, message: object, context: Context) -> object:
        super().receive(message, context)
        raise ValueError("fragile")


def _nothing() -> None:
    return None


@dataclass
class Stage:
    """An engine with one actor that spawns all others, so that all of these are between actors."""

    engine: Stepped
    seen: list[tuple[float, str, str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = self.engine.spawn("root", Puppet)
        self.engine.observers.append(self._saw)

    def puppet(self, name: str, make: Callable[[], Actor] = Puppet, *, blocking: bool = False, by: str = "root") -> Ref:
        ref: Ref = self.engine.find(by).ask(Spawn(name, make, blocking), timeout=1e3)
        return ref

    def of(self, name: str) -> Puppet:
        actor = self.engine.actor(name)
        if not isinstance(actor, Puppet):
            raise LookupError(f"no puppet {name!r} is alive")
        return actor

    def told(self, name: str) -> list[object]:
        return [message for _, message in self.of(name).seen]

    def times(self, event: str, name: str) -> list[float]:
        return [round(when, 6) for when, what, who, _ in self.seen if (what, who) == (event, name)]

    def ends(self, name: str) -> list[BaseException | None]:
        """Why actors have ended, as far as this one knows."""
        return [message.reason for message in self.told(name) if isinstance(message, Ended)]

    def _saw(self, event: str, name: str, message: object) -> None:
        self.seen.append((self.engine.time, event, name, message))


def chatter(engine: Stepped, actors: int = 6, rounds: int = 200) -> list[list[object]]:
    """Let actors tell each other numbers in turns, with computations between; return what each was told."""
    stage = Stage(engine)
    names = [f"actor {number}" for number in range(actors)]
    refs = [stage.puppet(name) for name in names]
    for number in range(rounds):
        at, to = refs[number % actors], refs[(3 * number + 1) % actors]
        at.tell(Tell(to, ((number, 0), (number, 1))) if number % 2 else Compute(to, (number, 2)))
        engine.run(seconds=0.001)
    engine.run(seconds=100.0)
    return [stage.told(name) if engine.actor(name) else [] for name in names]


def fifo(told: list[object]) -> bool:
    """Whether the pairs of numbers that `chatter` sends came in their order."""
    numbers = [each for each in told if isinstance(each, tuple) and each[1] < 2]
    return all(second != (number, 0) for (number, _), second in itertools.pairwise(numbers)) and all(
        numbers.index((number, 0)) < numbers.index((number, 1)) for number, part in numbers if part == 1
    )
