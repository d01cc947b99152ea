"""Keeps the state of a simulation: its clock, its actors, and the record of events.

The schedulers of events and the parts that these use work on it. The engine adds what actors and users call.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from akkordeon.actor import Ended, Ref
from akkordeon.engines.mailbox import Job
from akkordeon.engines.simulation.actors import Executor, Scheduler, SimActor, body_of
from akkordeon.engines.simulation.faults import Crashed

logger = logging.getLogger(__name__)

Observer = Callable[[str, str, object], None]
"""Called with an event: its kind, the name of the actor, and the message if it is about one."""

CHUNK = 4096
"""Events whose fingerprint is taken together."""


class Simulation:
    """The virtual clock, the actors, and the record of events.

    Attributes:
        current: the actor that acts now; None outside of turns and computations.
        scheduler: decides what happens next. The engine sets it.
    """

    scheduler: Scheduler

    def __init__(self) -> None:
        self.time = 0.0
        self.steps = 0
        self.dead_letters = 0
        self.injected: Counter[str] = Counter()
        self.observers: list[Observer] = []
        self.bodies: dict[str, SimActor] = {}
        self.current: SimActor | None = None
        self._hash = hashlib.sha256()
        self._events: list[str] = []

    @property
    def digest(self) -> str:
        """A fingerprint of all events so far: their order, times, actors and kinds of message."""
        self._hash.update("".join(self._events).encode())
        self._events.clear()
        return self._hash.hexdigest()

    def crash(self, ref: Ref, *, silent: bool = False, reason: BaseException | None = None) -> None:
        """End an actor at once, in the middle of its turn if it is in one; a part of what it told there gets out.

        Args:
            ref: which.
            silent: tell no watcher on another host.
            reason: what watchers that are told see; a `Crashed` by default.
        """
        body = body_of(ref)
        if body.ended:
            return
        self.scheduler.cut_short(body)
        body.crashed, body.silent = True, silent
        self.inject("silent crash" if silent else "crash", body.name)
        self.end(body, reason or Crashed(f"{body.name} crashed at {self.time:.6f} s"))
        body.forget_answer()

    def jump(self, ref: Ref, seconds: float) -> None:
        """Let the clock that an actor sees jump, forward or backward; timers are true all the same."""
        body = body_of(ref)
        body.host.offset += seconds
        self.inject("jump", body.name)

    def act(
        self, body: SimActor, function: Callable[..., object], arguments: tuple[object, ...]
    ) -> BaseException | None:
        """Do what an actor does; return what it raised. A `KeyboardInterrupt` is for the user, who waits outside."""
        before, self.current = self.current, body
        try:
            function(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - all that an actor raises must reach its watchers
            return error
        finally:
            self.current = before
        return None

    def end(self, body: SimActor, reason: BaseException | None) -> None:
        """End an actor and tell its watchers."""
        if body.ended:
            return
        body.end(reason)
        del self.bodies[body.name]
        watchers, body.watchers = body.watchers, []
        if reason is not None and not watchers and not body.crashed:
            logger.error("%s has failed, and nobody watched it", body.name, exc_info=reason)
        for watcher in map(body_of, watchers):
            if not body.silent or body.lives_with(watcher):
                self.scheduler.notify(body, watcher, Ended(body.context.me, reason), late=False)
        self.show("ends", body.name, reason)

    def inject(self, kind: str, name: str, message: object = None) -> None:
        """Count and note a fault."""
        self.injected[kind] += 1
        self.note(kind, name, message)

    def note(self, event: str, name: str, message: object) -> None:
        """Take an event into the fingerprint, and show it."""
        self.record(event, name, message)
        self.show(event, name, message)

    def record(self, event: str, name: str, message: object) -> None:
        """Take an event into the fingerprint."""
        self._events.append(f"{self.time:.9f} {event} {name} {type(message).__name__}\n")
        if len(self._events) >= CHUNK:
            self._hash.update("".join(self._events).encode())
            self._events.clear()

    def show(self, event: str, name: str, message: object) -> None:
        """Tell the observers of an event."""
        for observer in self.observers:
            observer(event, name, message)


class Timeline(Scheduler, Protocol):
    """The events of a timed simulation, as processors and the fault injector see them."""

    wakes: Callable[[str, str], float]
    worker: Any
    """The virtual worker whose turn or computation is being handled; None for an actor with its own processor."""

    def after(self, seconds: float, function: Callable[..., None], *arguments: object) -> None:
        """Call when `seconds` have passed; without any, after everything else that is due now."""

    def begin_turn(self, body: SimActor, by: Executor) -> bool:
        """Run the next turn of an actor; return False if it has ended or is paused."""

    def begin_work(self, body: SimActor, job: Job, by: Executor) -> None:
        """Run a computation of an actor."""
