"""Processors of the simulation: one per actor, or workers that actors share.

The workers decide exactly as those of the threads engine do, because the order of turns decides the staleness that
training sees.
"""

from collections import deque

from akkordeon.engines.mailbox import Job
from akkordeon.engines.pool import FAIRNESS
from akkordeon.engines.simulation.actors import SimActor
from akkordeon.engines.simulation.clock import Timeline


class OwnProcessor:
    """A processor for each actor, and one for each of its computations."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def schedule(self, body: SimActor) -> None:
        """Take its turn at once."""
        body.scheduled = True
        self._timeline.after(0.0, self._begin, body)

    def turn_over(self, body: SimActor, job: Job | None) -> None:
        """Take the next turn, and compute beside it."""
        body.scheduled = False
        if job is not None:
            self._timeline.begin_work(body, job, self)
        self._timeline.wake(body)

    def work_over(self, body: SimActor) -> None:
        """See whether that made a turn possible."""
        self._timeline.wake(body)

    def _begin(self, body: SimActor) -> None:
        if not self._timeline.begin_turn(body, self):
            body.scheduled = False


class SharedProcessor:
    """Workers that share the turns of several actors: the `RunQueue` of the threads engine."""

    def __init__(self, timeline: Timeline, workers: int) -> None:
        self.ready: deque[SimActor] = deque()
        self.asleep: deque[VirtualWorker] = deque(VirtualWorker(timeline, self) for _ in range(workers))
        self._timeline = timeline

    def schedule(self, body: SimActor) -> None:
        """Give the actor to the worker that made it ready, if that one is free to go on with it; else to any."""
        body.scheduled = True
        worker = self._timeline.worker
        if worker is not None and worker.queue is self and worker.next is None:
            worker.next = body
        else:
            self.put(body)

    def put(self, body: SimActor) -> None:
        """Add an actor and wake a worker, if one sleeps."""
        self.ready.append(body)
        if self.asleep:
            worker = self.asleep.popleft()
            self._timeline.after(self._timeline.wakes(body.name, "wake"), worker.get)


class VirtualWorker:
    """Takes turns of the actors of one queue, and runs the computations that they ask for."""

    def __init__(self, timeline: Timeline, queue: SharedProcessor) -> None:
        self.queue = queue
        self.next: SimActor | None = None
        self._timeline = timeline
        self._in_a_row = 0

    def turn_over(self, body: SimActor, job: Job | None) -> None:
        """Stay with the actor, unless there is something to compute first."""
        body.scheduled = body.ready and not body.ended
        if body.scheduled:  # its data are in this core's cache, so another actor goes to another worker
            self._hand_over()
            self.next = body
        if job is None:
            self._timeline.after(0.0, self._pick)
        else:  # the computation comes first; an idle worker should go on with the other actor meanwhile
            self._hand_over()
            self._timeline.begin_work(body, job, self)

    def work_over(self, body: SimActor) -> None:
        """Take the actor's next turn, unless another worker has it."""
        if body.scheduled or body.ended or not body.ready:
            self._timeline.after(0.0, self._pick)
        else:
            body.scheduled = True
            self._begin(body)

    def get(self) -> None:
        """Take up what waits, or sleep."""
        if self.queue.ready:
            self._begin(self.queue.ready.popleft())
        else:
            self.queue.asleep.append(self)

    def _pick(self) -> None:
        self._in_a_row += 1  # of hand-overs: after some, actors that other workers left waiting come first
        if self.next is not None and (self._in_a_row <= FAIRNESS or not self.queue.ready):
            body, self.next = self.next, None
            self._begin(body)
        else:
            self._in_a_row = 0
            self._hand_over()
            self.get()

    def _begin(self, body: SimActor) -> None:
        if not self._timeline.begin_turn(body, self):
            body.scheduled = False
            self._timeline.after(0.0, self._pick)

    def _hand_over(self) -> None:
        if self.next is not None:
            body, self.next = self.next, None
            self.queue.put(body)
