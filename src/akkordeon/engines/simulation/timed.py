"""The simulation with delays: messages, turns and computations take their time, and what is due first comes first.

What an actor does in a turn it does at the turn's beginning, and what it tells is let go at the end; so it is with a
computation and its result.
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from akkordeon.engines.mailbox import START, Ask, Job
from akkordeon.engines.simulation.actors import Executor, SimActor
from akkordeon.engines.simulation.delays import Delays, draws
from akkordeon.engines.simulation.faults import Faults
from akkordeon.engines.simulation.links import Links
from akkordeon.engines.simulation.mishaps import FaultInjector
from akkordeon.engines.simulation.processors import Own, Pool, Runnable, VirtualWorker

if TYPE_CHECKING:
    from akkordeon.engines.simulation.engine import Stepped

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
        self, engine: "Stepped", seed: int, delays: Delays, faults: Faults, workers: int | None, tick: float
    ) -> None:
        self.worker: VirtualWorker | None = None
        self.wakes = draws("wakes", delays.wake, seed)
        self._engine = engine
        self._turn = draws("turns", delays.turn, seed)
        self._work = draws("works", delays.work, seed)
        self._links = Links(engine, seed, delays, faults, tick)
        self._own = Own(self)
        self._pool = None if workers is None else Runnable(self, Pool(self, workers))
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._agenda: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._number = itertools.count()
        self._outbox: Letters | None = None
        self._interrupt: KeyboardInterrupt | None = None
        self._mishaps = FaultInjector(engine, self, seed, faults)

    # What the engine calls

    def settle(self, body: SimActor, *, blocking: bool) -> None:
        """Give it a host and somebody who takes its turns; the first one makes it."""
        body.settle(blocking=blocking)
        if body.inbox or self._pool is None:
            body.place = self._own
        else:
            body.place = Runnable(self, Pool(self, 1)) if blocking else self._pool
        self._mishaps.born(body)
        self.wake(body)

    def send(self, body: SimActor, message: object) -> None:
        """Keep it until the end of the turn that it is told in; what comes from outside is there at once."""
        if self._outbox is None:
            self._let_go(None, body, message)
        else:
            self._outbox.append((body, message))

    def notify(self, ended: SimActor, watcher: SimActor, message: object, *, late: bool) -> None:  # noqa: ARG002
        """Tell of an end, as soon as that can get across."""
        if watcher.inbox or watcher.lives_with(ended):
            self._arrive(None, watcher, message)
        elif self._mishaps.separate(ended, watcher):
            self._mishaps.keep_news(ended, watcher, message)
        else:
            self._at(self._links.news(ended, watcher), self._tell_news, ended, watcher, message)

    def question(self, body: SimActor, ask: Ask) -> None:
        """Put it where it waits."""
        body.put(ask)
        self.wake(body)

    def later(self, seconds: float, body: SimActor, message: object) -> None:
        """Set a timer."""
        self._at(self._engine.time + max(0.0, seconds), self._ring, body, message)

    def step(self, deadline: float) -> bool:
        """Let happen what is due first."""
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
        if sender is None or receiver.inbox or not self._mishaps.separate(sender, receiver):
            return True
        self._engine.inject("cut off", receiver.name)
        return False

    def cut_short(self, body: SimActor) -> None:
        """Let out a part of what was told in the turn that it is in."""
        letters, body.outbox = body.outbox, []
        for receiver, message in letters[: self._mishaps.draw_up_to(len(letters))]:
            self._let_go(body, receiver, message)

    def pause(self, body: SimActor, seconds: float) -> None:
        """Let it stand still, and all that live with it."""
        self._mishaps.pause(body, seconds)

    def cut_off(self, bodies: list[SimActor], seconds: float) -> None:
        """Put a partition between these and all others."""
        self._mishaps.cut_off(bodies, seconds)

    # What processors and mishaps call

    def soon(self, function: Callable[..., None], *arguments: object) -> None:
        """Do it after all else that is due now."""
        self._agenda.append((function, arguments))

    def after(self, seconds: float, function: Callable[..., None], *arguments: object) -> None:
        """Do it when so many seconds have passed."""
        if seconds > 0.0:
            heapq.heappush(self._heap, (self._engine.time + seconds, next(self._number), function, arguments))
        else:
            self._agenda.append((function, arguments))

    def wake(self, body: SimActor) -> None:
        """See that an actor takes its turn, if it has one to take and is in none."""
        if not body.scheduled and body.ready and not body.ended and body.host.paused_until <= self._engine.time:
            body.place.schedule(body)

    def begin_turn(self, body: SimActor, by: Executor) -> bool:
        """Let an actor do its next turn, unless it has ended or stands still; say whether it does."""
        if body.ended or body.host.paused_until > self._engine.time:
            return False
        function, arguments = body.take()
        handled = body.handled(arguments)
        body.answering = arguments[0] if arguments and isinstance(arguments[0], Ask) else None
        body.outbox = []
        self.worker = by if isinstance(by, VirtualWorker) else None
        error = self._act(body, body.outbox, function, arguments)
        self.worker = None
        self._happened("turn", body, handled)
        if body.inbox or not (seconds := self._turn(body.name, body.kind) * body.host.slowness):
            self._end_turn(body, by, error, body.host.lost)
        else:
            self.after(seconds, self._end_turn, body, by, error, body.host.lost)
        return True

    def begin_work(self, body: SimActor, job: Job, by: Executor) -> None:
        """Let an actor compute."""
        letters: Letters = []
        error = self._act(body, letters, job.run, ())
        self._happened("computes", body, None)
        kind = START if job.kind is None else job.kind.__name__
        seconds = self._work(body.name, kind) * body.host.slowness
        self.after(seconds, self._end_work, body, job, by, letters, error, body.host.lost)

    # Events

    def _advance(self, deadline: float) -> bool:
        engine, heap = self._engine, self._heap
        due = heap[0][0] if heap else math.inf
        if self._mishaps.next < due and self._mishaps.next <= deadline and (heap or deadline < math.inf):
            engine.time = self._mishaps.next
            self._mishaps.strike()
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
        elif self._mishaps.separate(sender, receiver):
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
        elif sender is not None and not receiver.inbox and self._mishaps.separate(sender, receiver):
            self._engine.inject("cut off", receiver.name, message)
        else:
            receiver.put(message)
            self._happened("arrives", receiver, message)
            self.wake(receiver)

    def _ring(self, body: SimActor, message: object) -> None:
        self._arrive(body, body, message)

    def _tell_news(self, ended: SimActor, watcher: SimActor, message: object) -> None:
        if self._mishaps.separate(ended, watcher):
            self._mishaps.keep_news(ended, watcher, message)
        else:
            self._arrive(None, watcher, message)

    def _end_turn(self, body: SimActor, by: Executor, error: BaseException | None, lost: float) -> None:
        if body.host.lost > lost:
            self.after(body.host.lost - lost, self._end_turn, body, by, error, body.host.lost)
            return
        letters, body.outbox, body.answering = body.outbox, [], None
        self.worker = by if isinstance(by, VirtualWorker) else None
        if not body.crashed:
            for receiver, message in letters:
                self._let_go(body, receiver, message)
        if error is not None:
            self._engine.end(body, error)
        job = body.finish()
        by.turn_over(body, None if body.ended else job)
        self.worker = None

    def _end_work(
        self, body: SimActor, job: Job, by: Executor, letters: Letters, error: BaseException | None, lost: float
    ) -> None:
        if body.host.lost > lost:
            self.after(body.host.lost - lost, self._end_work, body, job, by, letters, error, body.host.lost)
            return
        self.worker = by if isinstance(by, VirtualWorker) else None
        if not body.crashed:
            for receiver, message in letters:
                self._let_go(body, receiver, message)
        if error is not None:
            self._engine.end(body, error)
        job.done = bool(job.result)  # nothing, if the user interrupted it
        by.work_over(body)
        self.worker = None

    def _at(self, due: float, function: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._heap, (due, next(self._number), function, arguments))

    def _act(
        self, body: SimActor, letters: Letters, function: Callable[..., object], arguments: tuple[object, ...]
    ) -> BaseException | None:
        self._outbox = letters
        try:
            return self._engine.act(body, function, arguments)
        except KeyboardInterrupt as error:  # the user's, who waits outside; the turn ends as any other
            self._interrupt = error
            return None
        finally:
            self._outbox = None

    def _happened(self, event: str, body: SimActor, message: object) -> None:
        self._engine.steps += 1
        self._engine.note(event, body.name, message)
