"""The simulation engine: actors on a virtual clock, where one seed decides what happens.

It has two modes. *Exploring*: in each step a message arrives, an actor takes a turn, or a computation runs, drawn from
all that could happen. So messages of different senders overtake each other and computations end out of order, while
messages of one sender to one receiver stay in order. When nothing can happen, the clock jumps to the next timer.
*Timed*: messages, turns and computations take the time that `Delays` gives them, and what is due first comes first;
`Faults` say what goes wrong.

The same seed gives the same events, in any process: compare `digest`. Nothing runs unless code outside actors waits:
`ask`, `Inbox.take` and `run` make the steps.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from akkordeon.actor import Actor, Ended, Engine, Inbox, Make, Ref
from akkordeon.engines.context import ActorContext, LocalInbox, LocalRef
from akkordeon.engines.debug import WriteDetector
from akkordeon.engines.intraop import OneThread
from akkordeon.engines.mailbox import Ask, refuse_place
from akkordeon.engines.simulation.actors import SimActor, body_of
from akkordeon.engines.simulation.clock import Simulation
from akkordeon.engines.simulation.delays import Delays
from akkordeon.engines.simulation.exploring import Exploring
from akkordeon.engines.simulation.faults import Faults
from akkordeon.engines.simulation.injector import FaultInjector
from akkordeon.engines.simulation.timed import Timed
from akkordeon.errors import ActorNotFound, NameTaken, NoAnswer


class Stepped(Simulation, Engine):
    """A deterministic engine on virtual time.

    With `delays`, `faults` or `workers` it is timed, without them exploring.

    Messages from and to the outside take no time, and neither do those of an actor to itself, or between one that may
    block and the one that spawned it: these two live on one host. Nothing of this kind is ever lost.

    Args:
        seed: decides the order of events, and all that is drawn.
        delays: how long messages, turns and computations take.
        faults: what goes wrong.
        workers: how many take the turns of all actors but those that may block, as on `Threads`; without, each actor
            has a processor for its turns and one for each of its computations.
        tick: how many virtual seconds each step takes when exploring.
        debug: as for `Threads`.

    Attributes:
        time: the virtual second.
        steps: turns, computations and arrivals so far.
        dead_letters: messages so far to actors that had ended.
        injected: faults so far, by kind. "cut off" counts the messages that a partition stopped.
        observers: called after each event: "arrives", "turn" (after what the actor does in it), "computes", "ends",
            "heals", and the kinds of faults.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        delays: Delays | None = None,
        faults: Faults | None = None,
        workers: int | None = None,
        tick: float = 0.001,
        debug: bool = False,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        super().__init__()
        self._one_thread = OneThread()
        self._detector = WriteDetector() if debug else None
        self._closed = False
        self._lossy = faults is not None and bool(faults.loss or faults.partitions)
        self.scheduler = Exploring(self, seed, tick)
        if (delays, faults, workers) != (None, None, None):
            self.scheduler = Timed(self, seed, delays or Delays(), faults or Faults(), workers, tick)

    @property
    def loses_messages(self) -> bool:
        """Whether faults are on that lose messages, or an actor was ever cut off."""
        return self._lossy

    def spawn(
        self, name: str, make: Make, *, computations: int = 1, blocking: bool = False, place: str | None = None
    ) -> Ref:
        """Start an actor; one that may block lives on the host of its spawner."""
        refuse_place(name, place)
        # Nothing blocks here: an actor that may block on other engines lives on the host of its spawner.
        return self._add(SimActor(name, make, computations, self.current), blocking=blocking)

    def find(self, name: str) -> Ref:
        """Return the living actor of that name."""
        if name not in self.bodies:
            raise ActorNotFound(f"no actor named {name!r}; there are: {', '.join(self.bodies) or 'none'}")
        return self.bodies[name].context.me

    def watch(self, ref: Ref, watcher: Ref) -> None:
        """Tell `watcher` of the end of an actor, unless it ends silently on another host."""
        body = body_of(ref)
        if not body.ended:
            body.watchers.append(watcher)
        elif not body.silent or body.lives_with(body_of(watcher)):
            self.scheduler.notify(body, body_of(watcher), Ended(ref, body.reason), late=True)

    def stop(self, ref: Ref) -> None:
        """End an actor, unless a partition is between it and the caller."""
        body = body_of(ref)
        if self.scheduler.reaches(self.current, body):
            self.end(body, None)

    def inbox(self, name: str, then: Callable[[object], None] | None = None) -> Inbox:
        """Open a mailbox for code outside actors."""
        inbox = LocalInbox(self, then)
        body = SimActor(name, lambda: inbox, 1, None)
        body.inbox = True
        inbox.ref = self._add(body, blocking=False)
        return inbox

    def look(self) -> str:
        """Describe what waits in each mailbox."""
        return "\n".join(body.look(self.time) for body in self.bodies.values())

    def close(self) -> None:
        """End all actors and put torch's thread setting back.

        Raises:
            SharedTensorWritten: in debug mode, when a tensor was written after it was sent.
        """
        if self._closed:
            return
        self._closed = True
        for body in list(self.bodies.values()):
            self.end(body, None)
        self._one_thread.close()
        if self._detector:
            self._detector.check()

    def run(self, *, until: Callable[[], object] = lambda: False, seconds: float = float("inf")) -> bool:
        """Step until `until` holds, `seconds` have passed on the virtual clock, or nothing can happen any more.

        Returns:
            Whether `until` holds.
        """
        deadline = self.time + seconds
        step = self.scheduler.step
        while not until() and self.time < deadline and step(deadline):
            pass
        return bool(until())

    # For checks and experiments

    def actor(self, name: str) -> Actor | None:
        """Return the living actor of that name, if there is one and it has been made."""
        return None if (body := self.bodies.get(name)) is None or body.inbox else body.actor

    def actors(self) -> Iterator[tuple[str, Actor]]:
        """Yield names and actors that live, those included that are cut off from all others."""
        for body in list(self.bodies.values()):
            if body.actor is not None and not body.inbox:
                yield body.name, body.actor

    def pause(self, ref: Ref, seconds: float) -> None:
        """Let an actor stand still for so many seconds, with all that live on its host; messages wait. Timed only."""
        self._injector.pause(body_of(ref), seconds)

    def cut_off(self, names: Iterable[str], seconds: float) -> None:
        """Cut actors off from all others, not from each other, for so many seconds. Timed only."""
        self._lossy = True
        self._injector.cut_off([body_of(self.find(name)) for name in names], seconds)

    # What refs, contexts and inboxes call

    def deliver(self, body: SimActor, message: object) -> None:
        """Put a message on its way."""
        if self._detector:
            self._detector.saw(message, "outside" if self.current is None else self.current.name, body.name)
        self.scheduler.send(body, message)

    def ask(self, body: SimActor, message: object, timeout: float) -> Any:
        """Ask an actor, and make steps until it has answered; see `akkordeon.actor.Ref.ask`."""
        if self.current is not None:
            raise RuntimeError(f"{self.current.name} asked {body.name}; actors tell, they never ask")
        if body.ended:
            raise body.failure()
        ask = Ask(message)
        body.receives(ask, self.time)
        self.scheduler.wake(body)
        if not self.run(until=lambda: ask.answer.done() and body.answering is not ask, seconds=timeout):
            raise NoAnswer(f"{body.name} did not answer {type(message).__name__} within {timeout:g} s")
        return ask.answer.result()

    def now(self, body: SimActor | None = None) -> float:
        """Return the seconds on the clock of an actor's host, which may have jumped; without one, those that passed."""
        return self.time + (body.host.offset if body else 0.0)

    def later(self, body: SimActor, seconds: float, message: object) -> None:
        """Send after a while."""
        self.scheduler.later(seconds, body, message)

    def wait(self, arrived: threading.Condition, messages: deque[object], timeout: float) -> bool:  # noqa: ARG002
        """Make steps until there are messages; return whether there are."""
        return self.run(until=lambda: messages, seconds=timeout)

    @property
    def _injector(self) -> FaultInjector:
        if isinstance(self.scheduler, Timed):
            return self.scheduler.injector
        raise RuntimeError("pauses and partitions need a timed simulation: give the engine `delays`")

    def _add(self, body: SimActor, *, blocking: bool) -> Ref:
        if self._closed:
            raise RuntimeError(f"cannot spawn {body.name}: the engine is closed")
        if body.name in self.bodies:
            raise NameTaken(f"an actor named {body.name!r} is alive; stop it first, or choose another name")
        self.bodies[body.name] = body
        body.context = ActorContext(self, self, body, LocalRef(self, body))
        self.scheduler.settle(body, blocking=blocking)
        return body.context.me
