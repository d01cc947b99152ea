"""The simulation engine: one thing happens per step, on a virtual clock, in an order that one seed decides.

A step is one of: a message arrives, an actor takes a turn, a computation runs. What may happen next is drawn from all
that could, so messages of different senders overtake each other and computations end out of order, while messages of
one sender to one receiver stay in order. When nothing can happen, the clock jumps to the next timer. The same seed
gives the same events, in any process: `digest` says so.

Nothing runs unless somebody outside waits: `ask`, `Inbox.take` and `run` make the steps.
"""

import hashlib
import heapq
import itertools
import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from akkordeon.actor import Actor, Ended, Inbox, Ref
from akkordeon.engines.cell import Ask, Cell, Job
from akkordeon.engines.intraop import OneThread
from akkordeon.engines.witness import Witness
from akkordeon.errors import ActorNotFound, NameTaken, NoAnswer

__all__ = ["Stepped"]

logger = logging.getLogger(__name__)

OUTSIDE = "outside"
ENGINE = "engine"


class Stepped:
    """A deterministic engine on virtual time.

    Args:
        seed: decides the order of events.
        tick: how many virtual seconds each step takes.
        debug: as for `Threads`.
    """

    def __init__(self, seed: int = 0, *, tick: float = 0.001, debug: bool = False) -> None:
        self.time = 0.0
        self.steps = 0
        self.dead_letters = 0
        self._tick = tick
        self._order = random.Random(seed)  # noqa: S311 - an order of events, not a secret
        self._digest = hashlib.sha256()
        self._one_thread = OneThread()
        self._witness = Witness() if debug else None
        self._cells: dict[str, Cell] = {}
        self._transit: dict[tuple[str, str], deque[tuple[Cell, object]]] = {}
        self._jobs: list[Job] = []
        self._timers: list[tuple[float, int, Cell, object]] = []
        self._number = itertools.count()
        self._current = OUTSIDE
        self._closed = False

    @property
    def digest(self) -> str:
        """A fingerprint of all events so far: their order, times, actors and kinds of message."""
        return self._digest.hexdigest()

    def spawn(self, name: str, make: Callable[[], Actor], *, computations: int = 1, blocking: bool = False) -> Ref:  # noqa: ARG002
        """See `akkordeon.actor.Engine.spawn`. Nothing blocks here, so `blocking` makes no difference."""
        if self._closed:
            raise RuntimeError(f"cannot spawn {name}: the engine is closed")
        if name in self._cells:
            raise NameTaken(f"an actor named {name!r} is alive; stop it first, or choose another name")
        cell = self._cells[name] = Cell(name, make, computations)
        cell.context = _Context(self, cell)
        return cell.context.me

    def find(self, name: str) -> Ref:
        """See `akkordeon.actor.Engine.find`."""
        if name not in self._cells:
            raise ActorNotFound(f"no actor named {name!r}; there are: {', '.join(self._cells) or 'none'}")
        return self._cells[name].context.me

    def watch(self, ref: Ref, watcher: Ref) -> None:
        """See `akkordeon.actor.Engine.watch`."""
        assert isinstance(ref, _Ref)
        if ref.cell.ended:
            watcher.tell(Ended(ref, ref.cell.reason))
        else:
            ref.cell.watchers.append(watcher)

    def stop(self, ref: Ref) -> None:
        """See `akkordeon.actor.Engine.stop`."""
        assert isinstance(ref, _Ref)
        self._end(ref.cell, None)

    def inbox(self, name: str) -> Inbox:
        """See `akkordeon.actor.Engine.inbox`."""
        return _Inbox(self, name)

    def look(self) -> str:
        """See `akkordeon.actor.Engine.look`."""
        return "\n".join(cell.look(self.time) for cell in self._cells.values())

    def close(self) -> None:
        """End all actors and put torch's thread setting back.

        Raises:
            SharedTensorWritten: in debug mode, when a tensor was written after it was sent.
        """
        if self._closed:
            return
        self._closed = True
        for cell in list(self._cells.values()):
            self._end(cell, None)
        self._one_thread.close()
        if self._witness:
            self._witness.check()

    def run(self, *, until: Callable[[], object] = lambda: False, seconds: float = float("inf")) -> bool:
        """Step until `until` holds, `seconds` have passed on the virtual clock, or nothing can happen any more.

        Returns:
            Whether `until` holds.
        """
        deadline = self.time + seconds
        while not until() and self.time < deadline and self._step(deadline):
            pass
        return bool(until())

    def send(self, cell: Cell, message: object) -> None:
        """Put a message on its way."""
        if self._witness:
            self._witness.saw(message, self._current, cell.name)
        if cell.ended:
            self.dead_letters += 1
        else:
            self._transit.setdefault((self._current, cell.name), deque()).append((cell, message))

    def question(self, cell: Cell, ask: Ask) -> None:
        """Put a question to an actor."""
        if self._current != OUTSIDE:
            raise RuntimeError(f"{self._current} asked {cell.name}; actors tell, they never ask")
        if cell.ended:
            ask.answer.set_exception(cell.failure())
        else:
            cell.put(ask)

    def later(self, seconds: float, cell: Cell, message: object) -> None:
        """Send after a while."""
        heapq.heappush(self._timers, (self.time + seconds, next(self._number), cell, message))

    def _step(self, deadline: float) -> bool:
        choices: list[tuple[Callable[[Any], None], object]] = [
            *((self._arrive, route) for route in self._transit),
            *((self._compute, job) for job in self._jobs),
            *((self._turn, cell) for cell in self._cells.values() if cell.ready),
        ]
        if choices:
            self.time += self._tick
            self.steps += 1
            happen, what = self._order.choice(choices)
            happen(what)
        elif self._timers and self._timers[0][0] <= deadline:
            self.time = max(self.time, self._timers[0][0])
        else:
            if self._timers:
                self.time = deadline
            return False
        while self._timers and self._timers[0][0] <= self.time:
            _, _, cell, message = heapq.heappop(self._timers)
            self._note("timer", cell, message)
            self._transit.setdefault((cell.name, cell.name), deque()).append((cell, message))
        return True

    def _arrive(self, route: tuple[str, str]) -> None:
        cell, message = self._transit[route].popleft()
        if not self._transit[route]:
            del self._transit[route]
        self._note("arrives", cell, message)
        if cell.ended:
            self.dead_letters += 1
        else:
            cell.put(message)

    def _turn(self, cell: Cell) -> None:
        self._note("turn", cell, None)
        function, arguments = cell.take()
        if self._guarded(lambda: function(*arguments), cell) and (job := cell.finish()) is not None:
            self._jobs.append(job)

    def _compute(self, job: Job) -> None:
        self._jobs.remove(job)
        self._note("computes", job.cell, None)
        if not job.cell.ended and self._guarded(job.run, job.cell):
            job.done = True

    def _guarded(self, step: Callable[[], object], cell: Cell) -> bool:
        before, self._current = self._current, cell.name
        try:
            step()
        except KeyboardInterrupt:  # the user's, who waits outside
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, the watchers must learn of it
            self._end(cell, error)
            return False
        finally:
            self._current = before
        return True

    def _end(self, cell: Cell, reason: BaseException | None) -> None:
        if cell.ended:
            return
        cell.end(reason)
        del self._cells[cell.name]
        watchers, cell.watchers = cell.watchers, []
        if reason is not None and not watchers:
            logger.error("%s has failed, and nobody watched it", cell.name, exc_info=reason)
        before, self._current = self._current, ENGINE  # a route of its own: the news may overtake the actor's messages
        for watcher in watchers:
            watcher.tell(Ended(cell.context.me, reason))
        self._current = before

    def _note(self, event: str, cell: Cell, message: object) -> None:
        self._digest.update(f"{self.time:.9f} {event} {cell.name} {type(message).__name__}\n".encode())


class _Ref:
    """The address of an actor on this engine."""

    __slots__ = ("_engine", "cell", "name")

    def __init__(self, engine: Stepped, cell: Cell) -> None:
        self._engine = engine
        self.cell = cell
        self.name = cell.name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def tell(self, message: object) -> None:
        self._engine.send(self.cell, message)

    def ask(self, message: object, *, timeout: float) -> Any:
        ask = Ask(message)
        self._engine.question(self.cell, ask)
        if not self._engine.run(until=ask.answer.done, seconds=timeout):
            raise NoAnswer(f"{self.name} did not answer {type(message).__name__} within {timeout:g} s")
        return ask.answer.result()


class _Context:
    """What one actor may do."""

    def __init__(self, engine: Stepped, cell: Cell) -> None:
        self._engine = engine
        self._cell = cell
        self.me: Ref = _Ref(engine, cell)
        self.random_lock: AbstractContextManager[object] = nullcontext()
        self.compute = cell.compute
        self.in_order = cell.in_order
        self.spawn = engine.spawn
        self.find = engine.find
        self.watch = engine.watch
        self.stop = engine.stop
        self.look = engine.look

    def now(self) -> float:
        return self._engine.time

    def tell_later(self, seconds: float, message: object) -> None:
        self._engine.later(seconds, self._cell, message)


class _Inbox(Actor):
    """A queue that actors can tell things to: an actor that passes them on."""

    def __init__(self, engine: Stepped, name: str) -> None:
        self._messages: deque[object] = deque()
        self._engine = engine
        self.ref = engine.spawn(name, lambda: self)

    def receive(self, message: object, context: object) -> object:  # noqa: ARG002
        self._messages.append(message)
        return None

    def take(self, *, timeout: float) -> Any:
        if not self._engine.run(until=lambda: self._messages, seconds=timeout):
            raise NoAnswer(f"nothing came to {self.ref.name} within {timeout:g} s")
        return self._messages.popleft()

    def close(self) -> None:
        self._engine.stop(self.ref)
