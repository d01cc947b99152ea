"""The timed simulation: messages, turns and computations take time, and events happen in the order they are due.

An actor acts at the beginning of its turn; the messages it sends leave at the end. A computation and its result
behave in the same way.
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from typing import Any

from akkordeon.engines.mailbox import START, Ask, Job
from akkordeon.engines.simulation.actors import Executor, SimActor
from akkordeon.engines.simulation.clock import Simulation
from akkordeon.engines.simulation.delays import Delays, draws
from akkordeon.engines.simulation.faults import Faults
from akkordeon.engines.simulation.injector import FaultInjector
from akkordeon.engines.simulation.links import Links
from akkordeon.engines.simulation.processors import OwnProcessor, SharedProcessor, VirtualWorker

Letters = list[tuple[SimActor, object]]


class Timed:
    """Events on a heap, and those that are due now in a queue beside it.

    Args:
        engine: whose actors.
        seed: decides all that is drawn.
        delays: how long things take.
        faults: what goes wrong.
        workers: how many share the turns of all actors but those that may block; None for a processor each.
        tick: see `Links`.
    """

    def __init__(
        self, engine: Simulation, seed: int, delays: Delays, faults: Faults, workers: int | None, tick: float
    ) -> None:
        self.worker: VirtualWorker | None = None
        self.wakes = draws("wakes", delays.wake, seed)
        self._engine = engine
        self._turn = draws("turns", delays.turn, seed)
        self._work = draws("works", delays.work, seed)
        self._links = Links(engine, seed, delays, faults, tick)
        self._own = OwnProcessor(self)
        self._shared = None if workers is None else SharedProcessor(self, workers)
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._agenda: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._number = itertools.count()
        self._told: Letters | None = None
        self._interrupt: KeyboardInterrupt | None = None
        self.injector = FaultInjector(engine, self, seed, faults)

    # What the engine calls

    def settle(self, body: SimActor, *, blocking: bool) -> None:
        """Give a new actor a host and a processor; its first turn makes it."""
        body.settle(blocking=blocking)
        if body.inbox or self._shared is None:
            body.place = self._own
        else:
            body.place = SharedProcessor(self, 1) if blocking else self._shared
        self.injector.born(body)
        self.wake(body)

    def send(self, body: SimActor, message: object) -> None:
        """Keep a message until the turn that sends it ends; from outside it arrives at once."""
        if self._told is None:
            self._let_go(None, body, message)
        else:
            self._told.append((body, message))

    def notify(self, ended: SimActor, watcher: SimActor, message: object, *, late: bool) -> None:  # noqa: ARG002
        """Tell a watcher of an end, as soon as no partition is between them."""
        if watcher.inbox or watcher.lives_with(ended):
            self._arrive(None, watcher, message)
        elif self.injector.separate(ended, watcher):
            self.injector.keep_news(ended, watcher, message)
        else:
            self._at(self._links.news(ended, watcher), self._tell_news, ended, watcher, message)

    def later(self, seconds: float, body: SimActor, message: object) -> None:
        """Set a timer."""
        self._at(self._engine.time + max(0.0, seconds), self._arrive, body, body, message)

    def step(self, deadline: float) -> bool:
        """Run the event that is due first."""
        if self._agenda:
            function, arguments = self._agenda.popleft()
            function(*arguments)
        elif not self._advance(deadline):
            return False
        if self._interrupt is not None:
            error, self._interrupt = self._interrupt, None
            raise error
        return True

    def reaches(self, sender: SimActor | None, receiver: SimActor) -> bool:
        """Whether no partition is between them."""
        if sender is None or receiver.inbox or not self.injector.separate(sender, receiver):
            return True
        self._engine.inject("cut off", receiver.name)
        return False

    def cut_short(self, body: SimActor) -> None:
        """Send a random first part of the messages of the turn that crashes."""
        letters, body.outbox = body.outbox, []
        for receiver, message in letters[: self.injector.draw_up_to(len(letters))]:
            self._let_go(body, receiver, message)

    # What processors and the fault injector call

    def after(self, seconds: float, function: Callable[..., None], *arguments: object) -> None:
        """Call when `seconds` have passed; without any, after everything else that is due now."""
        if seconds > 0.0:
            heapq.heappush(self._heap, (self._engine.time + seconds, next(self._number), function, arguments))
        else:
            self._agenda.append((function, arguments))

    def wake(self, body: SimActor) -> None:
        """Schedule an actor if it has a turn to take and is in none."""
        if not body.scheduled and body.ready and not body.ended and body.host.paused_until <= self._engine.time:
            body.place.schedule(body)

    def begin_turn(self, body: SimActor, by: Executor) -> bool:
        """Run the next turn of an actor; return False if it has ended or is paused."""
        if body.ended or body.host.paused_until > self._engine.time:
            return False
        function, arguments = body.begins(self._engine.time)
        handled = body.handled(arguments)
        body.answering = arguments[0] if arguments and isinstance(arguments[0], Ask) else None
        body.outbox = []
        self.worker = by if isinstance(by, VirtualWorker) else None
        error = self._act(body, body.outbox, function, arguments)
        self.worker = None
        self._happened("turn", body, handled)
        if body.inbox or not (seconds := self._turn(body.name, body.kind) * body.host.slowness):
            self._end_turn(body, by, error)
        else:
            self.after(seconds, self._over, body, body.host.lost, self._end_turn, by, error)
        return True

    def begin_work(self, body: SimActor, job: Job, by: Executor) -> None:
        """Run a computation of an actor."""
        letters: Letters = []
        error = self._act(body, letters, job.run, ())
        self._happened("computes", body, None)
        kind = START if job.kind is None else job.kind.__name__
        seconds = self._work(body.name, kind) * body.host.slowness
        self.after(seconds, self._over, body, body.host.lost, self._end_work, job, by, letters, error)

    # Events

    def _advance(self, deadline: float) -> bool:
        engine, heap = self._engine, self._heap
        due = heap[0][0] if heap else math.inf
        if self.injector.next < due and self.injector.next <= deadline and (heap or deadline < math.inf):
            engine.time = self.injector.next
            self.injector.strike()
        elif due <= deadline and heap:
            engine.time, _, function, arguments = heapq.heappop(heap)
            function(*arguments)
        else:
            if deadline < math.inf:
                engine.time = deadline
            return False
        return True

    def _let_go(self, sender: SimActor | None, receiver: SimActor, message: object) -> None:
        if receiver.ended:
            self._engine.dead_letters += 1
        elif sender is None or receiver.inbox or sender.host is receiver.host:
            self._arrive(sender, receiver, message)
        elif self.injector.separate(sender, receiver):
            self._engine.inject("cut off", receiver.name, message)
        else:
            for due in self._links.dues(sender, receiver, message):
                if due > self._engine.time or not self._links.is_clear(sender, receiver):
                    self._at(due, self._arrive, sender, receiver, message)
                else:
                    self._arrive(sender, receiver, message)

    def _arrive(self, sender: SimActor | None, receiver: SimActor, message: object) -> None:
        if receiver.ended:
            self._engine.dead_letters += 1
        elif sender is not None and not receiver.inbox and self.injector.separate(sender, receiver):
            self._engine.inject("cut off", receiver.name, message)
        else:
            receiver.receives(message, self._engine.time)
            self._happened("arrives", receiver, message)
            self.wake(receiver)

    def _tell_news(self, ended: SimActor, watcher: SimActor, message: object) -> None:
        if self.injector.separate(ended, watcher):
            self.injector.keep_news(ended, watcher, message)
        else:
            self._arrive(None, watcher, message)

    def _over(self, body: SimActor, lost: float, end: Callable[..., None], *arguments: object) -> None:
        if body.host.lost > lost:  # its host was paused meanwhile, so that it takes that much longer
            self.after(body.host.lost - lost, self._over, body, body.host.lost, end, *arguments)
        else:
            end(body, *arguments)

    def _end_turn(self, body: SimActor, by: Executor, error: BaseException | None) -> None:
        letters, body.outbox, body.answering = body.outbox, [], None
        self._let_out(body, by, letters, error)
        job = body.finishes(self._engine.time)
        by.turn_over(body, None if body.ended else job)
        self.worker = None

    def _end_work(self, body: SimActor, job: Job, by: Executor, letters: Letters, error: BaseException | None) -> None:
        self._let_out(body, by, letters, error)
        if job.result:  # nothing, if the user interrupted it
            body.computed(job, self._engine.time)
        by.work_over(body)
        self.worker = None

    def _let_out(self, body: SimActor, by: Executor, letters: Letters, error: BaseException | None) -> None:
        # Whoever becomes ready by these messages goes on with the same worker, as on threads, so name it first.
        self.worker = by if isinstance(by, VirtualWorker) else None
        if not body.crashed:  # a crash has let out a part of them already
            for receiver, message in letters:
                self._let_go(body, receiver, message)
        if error is not None:
            self._engine.end(body, error)

    def _at(self, due: float, function: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._heap, (due, next(self._number), function, arguments))

    def _act(
        self, body: SimActor, letters: Letters, function: Callable[..., object], arguments: tuple[object, ...]
    ) -> BaseException | None:
        self._told = letters
        try:
            return self._engine.act(body, function, arguments)
        except KeyboardInterrupt as error:  # the user's, who waits outside; the turn ends as any other
            self._interrupt = error
            return None
        finally:
            self._told = None

    def _happened(self, event: str, body: SimActor, message: object) -> None:
        self._engine.steps += 1
        self._engine.note(event, body.name, message)
