"""Queues in which actors wait for a worker of `akkordeon.engines.local`, and a clock for timers."""

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable

from akkordeon.actor import Actor
from akkordeon.engines.mailbox import Mailbox
from akkordeon.engines.scaling import WorkerScaling

STUCK_CHECK = 0.25
"""Seconds between two checks for workers that hang, while actors wait."""

FAIRNESS = 16
"""Turns in a row that a worker takes of actors it made ready, before it takes one that waits in the queue."""

Later = Callable[[float, Callable[[], None]], None]
"""Calls something in some seconds."""


class Runnable(Mailbox):
    """A mailbox with its place in line: its queue, and whether it waits there or is in a turn."""

    def __init__(self, name: str, make: Callable[[], Actor], computations: int, queue: "RunQueue") -> None:
        super().__init__(name, make, computations)
        self.queue = queue
        # True from when it is put in line until its turn has ended: it is in one place at a time, so that no two
        # workers ever take turns of one actor.
        self.scheduled = False
        self.idle: float | None = None  # since when it has nothing to do
        self.queued = 0.0  # when it was put in line


class RunQueue:
    """Actors with a turn to take, and the workers that take it. Call it with the lock held, except for `get`.

    Args:
        lock: of the engine.
        workers: how many are awake, if that pays.
        standby: workers beyond these, that wake when all others hang.
        later: sets a timer; None where there are no standby workers.
    """

    def __init__(self, lock: threading.Lock, workers: int = 1, standby: int = 0, later: "Later | None" = None) -> None:
        self.ready: deque[Runnable] = deque()
        self.closed = False
        self._wake = threading.Condition(lock)
        self._awake = workers + standby
        self._scaling = WorkerScaling(workers)
        self._later = later
        self._checking = False

    @property
    def is_crowded(self) -> bool:
        """Whether more workers are awake than pay."""
        return self._awake > self._scaling.most

    def took_turn(self, now: float) -> None:
        """Note that a turn begins."""
        if self._scaling.took_turn(now) and self.ready:
            self._wake.notify_all()

    def put(self, runnable: Runnable) -> None:
        """Add an actor, and wake a worker if one sleeps that may be awake."""
        self.ready.append(runnable)
        runnable.queued = time.monotonic()
        if self._awake < self._scaling.most:
            self._wake.notify()
        elif not self._checking:
            # All workers that may be awake are: one will come for it. Unless all of them hang; so check later. The
            # timer runs only while actors wait: an idle engine never wakes.
            self._check_later()

    def get(self) -> Runnable | None:
        """Wait for an actor with a turn to take; None when the queue is closed."""
        with self._wake:
            self._awake -= 1
            # Also sleep while enough others are awake: those beyond `most` would only wait for Python's lock.
            while not self.ready or self._awake >= self._scaling.most:
                if self.closed:
                    return None
                self._wake.wait()
            self._awake += 1
            runnable = self.ready.popleft()
            if not runnable.computing:
                runnable.ready_for += time.monotonic() - runnable.queued
            return runnable

    def _check_later(self) -> None:
        self._checking = self._later is not None
        if self._later is not None:
            self._later(STUCK_CHECK, self._check)

    def _check(self) -> None:
        """Wake more workers if those that are awake hang, so that no actor waits for ever."""
        with self._wake:
            self._checking = False
            if self.ready and not self.closed:
                if self._scaling.is_stuck(time.monotonic()):
                    self._wake.notify_all()
                self._check_later()

    def close(self) -> None:
        """Let the workers end. Call it with the lock held."""
        self.closed = True
        self._wake.notify_all()


class Clock:
    """Calls functions when they are due, on one thread that sleeps in between."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()  # of two that are due at once, the first one added comes first
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` in `seconds`."""
        with self._wake:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="akkordeon clock", daemon=True)
                self._thread.start()
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._number), call))
            self._wake.notify()

    def close(self) -> None:
        """Drop what is not due yet, and end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (due := self._wait()) is not None:
            due()

    def _wait(self) -> Callable[[], None] | None:
        with self._wake:
            while not self._closed:
                left = self._due[0][0] - time.monotonic() if self._due else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._due)[2]
                self._wake.wait(left)
            return None
