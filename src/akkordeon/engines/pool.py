"""The threads of the embedded engine: workers that take turns, lanes in which actors wait for one, and a clock."""

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from akkordeon.actor import Actor
from akkordeon.engines.intraop import use_one_thread
from akkordeon.engines.mailbox import Job, Mailbox, Turn
from akkordeon.engines.scaling import WorkerScaling

NOTHING = "nothing"
"""What an idle worker is busy with."""

LOOK = 0.25
"""Seconds between two looks whether workers hang, while actors wait."""

Later = Callable[[float, Callable[[], None]], None]

FAIRNESS = 16
"""Hand-overs in a row before a worker looks at what others left waiting."""


class Runnable(Mailbox):
    """A cell with its place in line: the lane it waits in, and whether it waits there or is in a turn."""

    def __init__(self, name: str, make: Callable[[], Actor], computations: int, lane: "RunQueue") -> None:
        super().__init__(name, make, computations)
        self.lane = lane
        self.scheduled = False


class RunQueue:
    """Actors with a turn to take, and the workers that take it. Call it with the lock held, but for `get`.

    Args:
        lock: of the engine.
        workers: that are to be awake, if that pays.
        standby: that come to this lane besides.
        later: calls something in so many seconds; None where nobody stands by.
    """

    def __init__(self, lock: threading.Lock, workers: int = 1, standby: int = 0, later: "Later | None" = None) -> None:
        self.ready: deque[Runnable] = deque()
        self.closed = False
        self._wake = threading.Condition(lock)
        self._awake = workers + standby
        self._crew = WorkerScaling(workers)
        self._later = later
        self._looks = False

    @property
    def is_crowded(self) -> bool:
        """Whether more workers are awake than pay."""
        return self._awake > self._crew.most

    def took_turn(self, now: float) -> None:
        """Note that a turn begins."""
        if self._crew.took_turn(now) and self.ready:
            self._wake.notify_all()

    def put(self, seat: Runnable) -> None:
        """Add an actor and wake a worker, if one sleeps that may be awake."""
        self.ready.append(seat)
        if self._awake < self._crew.most:
            self._wake.notify()
        elif not self._looks:
            self._look_later()

    def get(self) -> Runnable | None:
        """Wait for an actor with a turn to take; None when the lane is closed."""
        with self._wake:
            self._awake -= 1
            while not self.ready or self._awake >= self._crew.most:
                if self.closed:
                    return None
                self._wake.wait()
            self._awake += 1
            return self.ready.popleft()

    def _look_later(self) -> None:
        self._looks = self._later is not None
        if self._later is not None:
            self._later(LOOK, self._look)

    def _look(self) -> None:
        """See that actors that wait do not do so for ever, while all that are awake are at something that hangs."""
        with self._wake:
            self._looks = False
            if self.ready and not self.closed:
                if self._crew.is_stuck(time.monotonic()):
                    self._wake.notify_all()
                self._look_later()

    def close(self) -> None:
        """Let the workers go home. Call it with the lock held."""
        self.closed = True
        self._wake.notify_all()


class Dispatcher(Protocol):
    """What a worker needs of its engine."""

    def begin_turn(self, seat: Runnable) -> Turn | None:
        """Take the next turn of an actor, unless it has ended."""

    def finish_turn(self, seat: Runnable) -> Job | None:
        """End it; return the computation that it asked for."""

    def finish_job(self, seat: Runnable, job: Job) -> Turn | None:
        """Note that a computation is done; return the actor's next turn, unless others have it in hand."""

    def hand_over(self, seat: Runnable) -> None:
        """Leave an actor to any worker that has time."""

    def end(self, seat: Runnable, reason: BaseException | None) -> None:
        """End an actor and tell its watchers."""


class Worker(threading.Thread):
    """Takes turns of actors of one lane, and runs the computations they ask for."""

    def __init__(self, engine: Dispatcher, lane: RunQueue, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.lane = lane
        self.next: Runnable | None = None
        self.doing = NOTHING
        self._engine = engine
        self._in_a_row = 0

    def run(self) -> None:
        """Take turns until the lane is closed."""
        use_one_thread()
        while (seat := self._pick()) is not None:
            self.doing = seat.name
            try:
                self._take_turns(seat)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the watchers must learn of it
                self._engine.end(seat, error)
            self.doing = NOTHING

    def _take_turns(self, seat: Runnable) -> None:
        turn = self._engine.begin_turn(seat)
        while turn is not None:
            function, arguments = turn
            function(*arguments)
            job = self._engine.finish_turn(seat)
            if job is None:
                return
            if self.next is not None:  # the computation comes first: somebody else should go on with that one
                kept, self.next = self.next, None
                self._engine.hand_over(kept)
            job.run()
            turn = self._engine.finish_job(seat, job)

    def _pick(self) -> Runnable | None:
        seat, self.next = self.next, None
        self._in_a_row += 1
        stays = (self._in_a_row <= FAIRNESS or not self.lane.ready) and not self.lane.is_crowded
        if seat is not None and stays:
            return seat
        self._in_a_row = 0
        if seat is not None:
            self._engine.hand_over(seat)
        return self.lane.get()


class Clock:
    """Calls what is due, on a thread that sleeps in between."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something in `seconds`."""
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
