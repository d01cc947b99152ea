"""Who takes the turns on the simulation engine: a processor per actor, or workers that they share.

The workers decide exactly as those of the threads engine do (`akkordeon.engines.threads`),
because who goes on with what decides the staleness that training sees.
"""

from collections import deque
from typing import TYPE_CHECKING

from akkordeon.engines.mailbox import Job
from akkordeon.engines.pool import FAIRNESS
from akkordeon.engines.simulation.actors import SimActor

if TYPE_CHECKING:
    from akkordeon.engines.simulation.timed import Timed


class Own:
    """A processor for each actor, and one for each of its computations."""

    def __init__(self, course: "Timed") -> None:
        self._course = course

    def schedule(self, body: SimActor) -> None:
        """Take its turn at once."""
        body.scheduled = True
        self._course.soon(self._begin, body)

    def turn_over(self, body: SimActor, job: Job | None) -> None:
        """Take the next turn, and compute beside it."""
        body.scheduled = False
        if job is not None:
            self._course.begin_work(body, job, self)
        self._course.wake(body)

    def work_over(self, body: SimActor) -> None:
        """See whether that made a turn possible."""
        self._course.wake(body)

    def _begin(self, body: SimActor) -> None:
        if not self._course.begin_turn(body, self):
            body.scheduled = False


class Pool:
    """Actors with a turn to take, and the workers that wait for one: a lane of the threads engine."""

    def __init__(self, course: "Timed", workers: int) -> None:
        self.ready: deque[SimActor] = deque()
        self._course = course
        self._asleep: deque[VirtualWorker] = deque(VirtualWorker(course, self) for _ in range(workers))

    def put(self, body: SimActor) -> None:
        """Add an actor and wake a worker, if one sleeps."""
        self.ready.append(body)
        if self._asleep:
            worker = self._asleep.popleft()
            self._course.after(self._course.wakes(body.name, "wake"), worker.get)

    def sleep(self, worker: "VirtualWorker") -> None:
        """Let a worker wait until there is something to do."""
        self._asleep.append(worker)


class Runnable:
    """An actor's place in a pool."""

    def __init__(self, course: "Timed", pool: Pool) -> None:
        self._course = course
        self._pool = pool

    def schedule(self, body: SimActor) -> None:
        """Leave it to the worker that made it ready, if that has nothing else to go on with; else to any."""
        body.scheduled = True
        worker = self._course.worker
        if worker is not None and worker.pool is self._pool and worker.next is None:
            worker.next = body
        else:
            self._pool.put(body)


class VirtualWorker:
    """Takes turns of the actors of one pool, and runs the computations that they ask for."""

    def __init__(self, course: "Timed", pool: Pool) -> None:
        self.pool = pool
        self.next: SimActor | None = None
        self._course = course
        self._in_a_row = 0

    def turn_over(self, body: SimActor, job: Job | None) -> None:
        """Stay with the actor, unless there is something to compute first."""
        body.scheduled = body.ready and not body.ended
        if body.scheduled:
            self._hand_over()
            self.next = body
        if job is None:
            self._course.soon(self._pick)
        else:
            self._hand_over()
            self._course.begin_work(body, job, self)

    def work_over(self, body: SimActor) -> None:
        """Take the actor's next turn, unless others have it in hand."""
        if body.scheduled or body.ended or not body.ready:
            self._course.soon(self._pick)
        else:
            body.scheduled = True
            self._begin(body)

    def get(self) -> None:
        """Take up what waits, or sleep."""
        if self.pool.ready:
            self._begin(self.pool.ready.popleft())
        else:
            self.pool.sleep(self)

    def _pick(self) -> None:
        body, self.next = self.next, None
        self._in_a_row += 1
        if body is not None and (self._in_a_row <= FAIRNESS or not self.pool.ready):
            self._begin(body)
            return
        self._in_a_row = 0
        if body is not None:
            self.pool.put(body)
        self.get()

    def _begin(self, body: SimActor) -> None:
        if not self._course.begin_turn(body, self):
            body.scheduled = False
            self._course.soon(self._pick)

    def _hand_over(self) -> None:
        if self.next is not None:
            body, self.next = self.next, None
            self.pool.put(body)
