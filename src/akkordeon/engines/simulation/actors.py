"""An actor in the simulation, its host, and what the engine needs of a scheduler."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from akkordeon.actor import Actor, Ref
from akkordeon.engines.context import LocalRef
from akkordeon.engines.mailbox import Ask, Job, Mailbox, Turn


class Host:
    """A simulated machine: clock, speed, pauses. Usually one actor per host.

    An actor that may block lives with the one that spawned it.
    """

    __slots__ = ("bodies", "lost", "offset", "paused_until", "slowness")

    def __init__(self) -> None:
        self.bodies: list[SimActor] = []
        self.offset = 0.0
        self.slowness = 1.0
        self.lost = 0.0  # seconds in all that it stood still, or will
        self.paused_until = 0.0


class SimActor(Mailbox):
    """A mailbox with its place in the simulation."""

    def __init__(self, name: str, make: Callable[[], Actor], computations: int, parent: "SimActor | None") -> None:
        super().__init__(name, make, computations)
        self.parent = parent
        self.host: Host
        self.place: Place
        self.inbox = False
        self.scheduled = False
        self.crashed = False
        self.silent = False
        self.answering: Ask | None = None
        self.outbox: list[tuple[SimActor, object]] = []  # what it told in the turn that it is in
        self.links: dict[SimActor, float] = {}  # when the last message to each arrives
        self._running = 0  # its computations
        self._began = 0.0
        self._idle: float | None = None  # since when it has nothing to do
        self._late: float | None = None  # since when it might be in a turn, and is in none, and computes nothing

    def receives(self, item: object, now: float) -> None:
        """Put a message or a question into the mailbox."""
        if self._idle is not None:
            self.starved += now - self._idle
            self._idle, self._late = None, now
        if self.probe is None:
            self.measure(item)
        self.put(item)

    def begins(self, now: float) -> Turn:
        """Take the next turn."""
        self.ready_for += 0.0 if self._late is None else now - self._late
        self._late, self._began = None, now
        self.made = now if self.actor is None else self.made
        return self.take()

    def finishes(self, now: float) -> Job | None:
        """Finish the turn; return the computation that it asked for."""
        turns, job = self.thens if self.goes_on else self.turns, self.finish()
        turns[self.handles] = turns.get(self.handles, 0.0) + now - self._began
        if job is not None:
            job.began, self._running = now, self._running + 1
        elif not self._running:
            self._idle, self._late = (None, now) if self.ready else (now, None)
        return job

    def computed(self, job: Job, now: float) -> None:
        """Note that a computation is done."""
        job.done, job.over, self._running = True, now, self._running - 1
        self._late = None if self._running else now

    def lives_with(self, other: "SimActor | None") -> bool:
        """Whether the two are on one host."""
        return other is not None and self.host is other.host

    def forget_answer(self) -> None:
        """Answer the question of this turn, in which the actor has ended, with that."""
        if self.answering is not None:
            self.answering.answer = Future()
            self.answering.answer.set_exception(self.failure())
            self.answering = None

    def handled(self, arguments: tuple[object, ...]) -> object:
        """Return the message of a turn, given its arguments; None if it is not about one."""
        if self.goes_on or not arguments:
            return None
        return arguments[0].message if isinstance(arguments[0], Ask) else arguments[0]

    def settle(self, *, blocking: bool) -> None:
        """Find a host: that of the parent, or a new one."""
        self.host = self.parent.host if blocking and self.parent is not None else Host()
        self.host.bodies.append(self)


def body_of(ref: Ref) -> SimActor:
    """Return the actor that an address is of."""
    assert isinstance(ref, LocalRef)
    assert isinstance(ref.mailbox, SimActor)
    return ref.mailbox


class Place(Protocol):
    """Where an actor's turns are taken: on a processor of its own, or by workers that it shares."""

    def schedule(self, body: SimActor) -> None:
        """See that its turn is taken as soon as there is time."""


class Executor(Protocol):
    """Takes turns, or computes."""

    def turn_over(self, body: SimActor, job: Job | None) -> None:
        """Go on after a turn, which may have asked for a computation."""

    def work_over(self, body: SimActor) -> None:
        """Go on after a computation."""


class Scheduler(Protocol):
    """Decides what happens next in the simulation, and when."""

    def settle(self, body: SimActor, *, blocking: bool) -> None:
        """Give a new actor its place."""

    def send(self, body: SimActor, message: object) -> None:
        """Put a message on its way, from the actor that is in a turn, or from outside."""

    def notify(self, ended: SimActor, watcher: SimActor, message: object, *, late: bool) -> None:
        """Tell a watcher of an end; `late` if it begins to watch after it."""

    def wake(self, body: SimActor) -> None:
        """Take notice of what was put into an actor's mailbox."""

    def later(self, seconds: float, body: SimActor, message: object) -> None:
        """Send after a while."""

    def step(self, deadline: float) -> bool:
        """Let one thing happen, until a deadline at most; return whether anything did."""

    def reaches(self, sender: SimActor | None, receiver: SimActor) -> bool:
        """Whether the two are not cut off from each other."""

    def cut_short(self, body: SimActor) -> None:
        """Send the first part of the messages of an actor's current turn, and drop the rest."""
