"""One actor's mailbox and the rule *take, work, then*, without threads or clocks: the same on every engine.

A mailbox is not thread-safe. The engine that owns it calls `take` and `finish` under its own lock and runs what they
return outside of it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from akkordeon.actor import Actor, Context, Ref, Urgent, Usage
from akkordeon.errors import ActorFailed, ActorNotFound

Turn = tuple[Callable[..., object], tuple[object, ...]]
"""What an actor does in one go, alone with its state: a function and its arguments."""

START = "start"
"""The kind of the turn in which an actor is made."""


class Job:
    """A place in the order of an actor's results: a computation, or a function that must not overtake one."""

    __slots__ = ("_work", "began", "computes", "done", "kind", "mailbox", "over", "result", "then")

    def __init__(self, mailbox: "Mailbox", work: Callable[[], Any] | None, then: Callable[..., None]) -> None:
        self.mailbox = mailbox
        self.kind = mailbox.handles
        self.then = then
        self.result: tuple[Any, ...] = ()
        self.computes = work is not None
        self.done = not self.computes
        self.began = self.over = 0.0
        self._work = work

    def run(self) -> None:
        """Do the work, beside the actor."""
        assert self._work is not None
        self.result = (self._work(),)


class Ask:
    """A question from outside, and the future of its answer."""

    __slots__ = ("answer", "message")

    def __init__(self, message: object) -> None:
        self.message = message
        self.answer: Future[Any] = Future()


def refuse_place(name: str, place: str | None) -> None:
    """Make sure that no place is asked for, on an engine whose actors are all in one process.

    Raises:
        ActorNotFound: one is.
    """
    if place is not None:
        raise ActorNotFound(f"{name} cannot be put on {place!r}: all actors of this engine are in one process")


PROBES, WAITS = 20, 100
"""Messages whose time in the mailbox is measured, after each time that the usage was asked for; and those kept."""

UNMEASURED = object()
"""In place of a message whose wait is measured."""

FIRST = (Ask, Urgent)
"""What does not wait behind messages. A tuple: making a union for each message takes longer than the check."""


class Mailbox:
    """An actor with its mailbox, its outstanding computations and those who watch it."""

    def __init__(self, name: str, make: Callable[[], Actor], computations: int) -> None:
        self.name = name
        self.computations = computations
        self.context: Context  # set by the engine, which alone can make one
        self.messages: deque[object] = deque()
        self.urgent: deque[Ask | Urgent] = deque()
        self.actor: Actor | None = None  # from when it is made until it ends
        self.watchers: list[Ref] = []
        self.ended = False
        self.reason: BaseException | None = None
        self.handles: type | None = None  # of the message that led to this turn
        self.goes_on = False  # whether this turn follows a computation, or a function of `in_order`
        self._make: Callable[[], Actor] | None = make
        self.probe: object = None  # the message whose wait is measured; None where that may be the next one
        self.made = self.ready_for = self.starved = self._probed = 0.0  # seconds, see `Usage`
        self.turns: dict[type | None, float] = {}
        self.thens: dict[type | None, float] = {}
        self._waits: deque[float] = deque(maxlen=WAITS)
        self._probes = PROBES
        self._jobs: deque[Job] = deque()
        self.computing = 0
        self._asked: Job | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a turn to take, if the actor is in none."""
        # While as many computations are outstanding as may be, messages wait: one that is taken too early computes on
        # weights that a pending result is about to change.
        if self.messages and self.computing < self.computations:
            return True
        return bool((self._jobs and self._jobs[0].done) or self.urgent or self._make is not None)

    @property
    def kind(self) -> str:
        """What its turn is about: the type of the message, with "then" for what follows from it, or "start"."""
        name = START if self.handles is None else self.handles.__name__
        return f"{name} then" if self.goes_on else name

    def take(self) -> Turn:
        """Begin the next turn: what is urgent first, then results in the order of asking, then other messages."""
        # Before it is made, an actor takes nothing, urgent or not.
        if self.urgent and self.actor is not None:
            first = self.urgent.popleft()
            self.handles, self.goes_on = type(first.message if isinstance(first, Ask) else first), False
            return (self._answer, (first,)) if isinstance(first, Ask) else (self.actor.receive, (first, self.context))
        # Only the oldest: a computation that ends early waits for those before it, so results come in order. A function
        # of `in_order` is a job without work, done from the start, and waits in the same line.
        if self._jobs and self._jobs[0].done:
            job = self._jobs.popleft()
            self.computing -= job.computes
            self.handles, self.goes_on = job.kind, True
            return job.then, job.result
        if self.actor is None:
            return self._start, ()
        message = self.messages.popleft()
        if message is self.probe:
            self._measured()
        self.handles, self.goes_on = type(message), False
        return self.actor.receive, (message, self.context)

    def put(self, item: object) -> None:
        """Add a message or a question."""
        if isinstance(item, FIRST):
            self.urgent.append(item)
        else:
            self.messages.append(item)

    def finish(self) -> Job | None:
        """End the turn; return the computation that it asked for, for the engine to run."""
        job, self._asked = self._asked, None
        return job

    def end(self, reason: BaseException | None) -> None:
        """Drop everything that waits; questions are answered with an error."""
        self.ended, self.reason = True, reason
        for ask in self.urgent:
            if isinstance(ask, Ask):
                ask.answer.set_exception(self.failure())
        self.urgent.clear()
        self.messages.clear()
        self._jobs.clear()
        self.actor = self._make = None

    def look(self, now: float) -> str:
        """Describe what waits here, and what the actor has in hand."""
        waiting = len(self.messages) + len(self.urgent)
        has = self.actor.look(now) if self.actor is not None else ""
        return f"{self.name}: {waiting} messages waiting, {self.computing} computations; {has}".rstrip("; ")

    def failure(self) -> ActorFailed:
        """Return the error that the actor has ended, and why."""
        error = ActorFailed(f"{self.name} has ended" + (f": {self.reason!r}" if self.reason else ""))
        error.__cause__ = self.reason
        return error

    def measure(self, message: object) -> None:
        """Begin to measure how long a message waits."""
        if not isinstance(message, FIRST):
            self.probe, self._probed = message, self.context.now()

    def _measured(self) -> None:
        """Note that the turn of that message has come."""
        self._waits.append(self.context.now() - self._probed)
        self._probes -= 1
        self.probe = None if self._probes else UNMEASURED

    # What a context does for the actor, in its turn.

    def compute(self, work: Callable[[], Any], then: Callable[[Any], None]) -> Job:
        """Note the one computation that a message may ask for."""
        if self._asked is not None:
            raise RuntimeError(f"{self.name} asked for two computations in one turn; a message may ask for one")
        self._asked = Job(self, work, then)
        self._jobs.append(self._asked)
        self.computing += 1
        return self._asked

    def in_order(self, then: Callable[[], None]) -> None:
        """Note something to do after all computations asked for so far."""
        self._jobs.append(Job(self, None, then))

    def waiting(self) -> Sequence[object]:
        """Return the messages that wait. Needs no lock: to other threads, copying a deque is a single step."""
        return self.messages.copy()

    def usage(self, clock: Callable[[], float]) -> Usage:
        """Return where the time has gone; measure the waits of some more messages."""
        now, waits = clock(), tuple(self._waits)
        self._probes = PROBES
        self.probe = None if self.probe is UNMEASURED else self.probe
        return Usage(now, now - self.made, dict(self.turns), dict(self.thens), self.ready_for, self.starved, waits)

    def _start(self) -> None:
        assert self._make is not None
        make, self._make = self._make, None
        self.actor = make()

    def _answer(self, ask: Ask) -> None:
        if (actor := self.actor) is None:
            ask.answer.set_exception(self.failure())
            return
        try:
            value = actor.receive(ask.message, self.context)
        except BaseException as error:
            failure = ActorFailed(f"{self.name} failed while answering {type(ask.message).__name__}: {error!r}")
            failure.__cause__ = error
            ask.answer.set_exception(failure)
            raise
        ask.answer.set_result(value)
