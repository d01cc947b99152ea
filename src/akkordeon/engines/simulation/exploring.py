"""The exploring simulation: the next event is drawn from all that could happen."""

import heapq
import itertools
import math
import random
from collections import deque

from akkordeon.engines.mailbox import Job
from akkordeon.engines.simulation.actors import SimActor
from akkordeon.engines.simulation.clock import Simulation


class Exploring:
    """One thing happens per step; a step takes a tick.

    Args:
        engine: whose actors.
        seed: decides the order.
        tick: virtual seconds per step.
    """

    def __init__(self, engine: Simulation, seed: int, tick: float) -> None:
        self._engine = engine
        self._tick = tick
        self._order = random.Random(seed)  # noqa: S311 - an order of events, not a secret
        self._transit: dict[tuple[str, str], deque[tuple[SimActor, object]]] = {}
        self._jobs: list[Job] = []
        self._timers: list[tuple[float, int, SimActor, object]] = []
        self._number = itertools.count()

    def settle(self, body: SimActor, *, blocking: bool) -> None:
        """Give it a host. Nothing blocks here, so `blocking` makes no difference but to the clock that it sees."""
        body.settle(blocking=blocking)

    def send(self, body: SimActor, message: object) -> None:
        """Put a message on the route of its sender and receiver."""
        self._route(self._sender(), body, message)

    def notify(self, ended: SimActor, watcher: SimActor, message: object, *, late: bool) -> None:  # noqa: ARG002
        """Send the news on a route of its own: it may overtake the messages of the actor."""
        self._route(self._sender() if late else "engine", watcher, message)

    def wake(self, body: SimActor) -> None:
        """Do nothing: what is in a mailbox is one of the possible events."""

    def later(self, seconds: float, body: SimActor, message: object) -> None:
        """Set a timer."""
        heapq.heappush(self._timers, (self._engine.time + seconds, next(self._number), body, message))

    def step(self, deadline: float) -> bool:
        """Draw what happens; when nothing can, jump to the next timer."""
        engine = self._engine
        ready = [body for body in engine.bodies.values() if body.ready]
        if choices := len(self._transit) + len(self._jobs) + len(ready):
            engine.time += self._tick
            engine.steps += 1
            self._happen(self._order.choice(range(choices)), ready)
        elif self._timers and self._timers[0][0] <= deadline:
            engine.time = max(engine.time, self._timers[0][0])
        else:
            if deadline < math.inf:
                engine.time = deadline
            return False
        while self._timers and self._timers[0][0] <= engine.time:
            _, _, body, message = heapq.heappop(self._timers)
            engine.record("timer", body.name, message)
            self._transit.setdefault((body.name, body.name), deque()).append((body, message))
        return True

    def reaches(self, sender: SimActor | None, receiver: SimActor) -> bool:  # noqa: ARG002
        """Return True: there are no partitions here."""
        return True

    def cut_short(self, body: SimActor) -> None:
        """Do nothing: a turn takes no time here."""

    def _sender(self) -> str:
        return "outside" if self._engine.current is None else self._engine.current.name

    def _route(self, sender: str, body: SimActor, message: object) -> None:
        if body.ended:
            self._engine.dead_letters += 1
        else:
            self._transit.setdefault((sender, body.name), deque()).append((body, message))

    def _happen(self, index: int, ready: list[SimActor]) -> None:
        if index < len(self._transit):
            self._arrive(next(itertools.islice(self._transit, index, None)))
        elif (index := index - len(self._transit)) < len(self._jobs):
            self._compute(self._jobs.pop(index))
        else:
            self._turn(ready[index - len(self._jobs)])

    def _arrive(self, route: tuple[str, str]) -> None:
        body, message = self._transit[route].popleft()
        if not self._transit[route]:
            del self._transit[route]
        self._engine.record("arrives", body.name, message)
        if body.ended:
            self._engine.dead_letters += 1
        else:
            body.receives(message, self._engine.time)
            self._engine.show("arrives", body.name, message)

    def _turn(self, body: SimActor) -> None:
        self._engine.record("turn", body.name, None)
        function, arguments = body.begins(self._engine.time)
        error = self._engine.act(body, function, arguments)
        if error is not None:
            self._engine.end(body, error)
        elif (job := body.finishes(self._engine.time)) is not None:
            self._jobs.append(job)
        self._engine.show("turn", body.name, body.handled(arguments))

    def _compute(self, job: Job) -> None:
        body = job.mailbox
        assert isinstance(body, SimActor)
        self._engine.record("computes", body.name, None)
        if body.ended:
            return
        error = self._engine.act(body, job.run, ())
        if error is None:
            body.computed(job, self._engine.time)
        else:
            self._engine.end(body, error)
        self._engine.show("computes", body.name, None)
