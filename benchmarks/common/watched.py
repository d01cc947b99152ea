"""A threads engine that times turns, computations, and how long sleeping workers take to wake."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable

from akkordeon.engines import Threads
from akkordeon.engines.local import Worker
from akkordeon.engines.mailbox import Turn
from akkordeon.engines.pool import Runnable, RunQueue

Samples = dict[tuple[str, str, str], list[tuple[float, float]]]
"""When each event ended and the seconds it took, by "turn", "work" or "wake", actor, and kind of message."""


Note = Callable[[str, str, str, float], float]
"""Takes "turn", "work" or "wake", the actor, the kind of message and the time of the start; returns the time."""


def take_turns(
    worker: Worker, runnable: Runnable, note: Note, begins: Callable[[Runnable, Turn, float], None] = lambda *_: None
) -> None:
    """Take turns of an actor as a worker does, and note them; call `begins` with each turn and its start."""
    engine, began = worker._engine, time.perf_counter()
    turn = engine.begin_turn(runnable)
    while turn is not None:
        begins(runnable, turn, began)
        function, arguments = turn
        function(*arguments)
        kind = runnable.kind
        job = engine.finish_turn(runnable)
        began = note("turn", runnable.name, kind, began)
        if job is None:
            return
        if worker.next is not None:
            kept, worker.next = worker.next, None
            engine.hand_over(kept)
        job.run()
        turn = engine.finish_job(runnable, job)
        began = note("work", runnable.name, kind, began)


class WatchedWorker(Worker):
    """Times turns and computations, including the overhead of the engine, and its own wake-ups."""

    def _pick(self) -> Runnable | None:
        engine = self._engine
        assert isinstance(engine, WatchedThreads)
        sleeps = self.next is None and not self.queue.ready
        runnable = super()._pick()
        if sleeps and runnable is not None:
            engine.note("wake", runnable.name, "wake", engine.put_at[runnable.name])
        return runnable

    def _take_turns(self, runnable: Runnable) -> None:
        engine = self._engine
        assert isinstance(engine, WatchedThreads)
        take_turns(self, runnable, engine.note)


class WatchedThreads(Threads):
    """The threads engine, timed."""

    def __init__(self, workers: int) -> None:
        self.samples: Samples = defaultdict(list)
        self.counts = False
        self.put_at: dict[str, float] = {}
        super().__init__(workers)

    def note(self, what: str, name: str, kind: str, began: float) -> float:
        """Note how long an event took; return the time."""
        now = time.perf_counter()
        if self.counts:
            self.samples[what, name, kind].append((now, now - began))
        return now

    def hand_over(self, runnable: Runnable) -> None:
        """Note the time of the hand-over."""
        self.put_at[runnable.name] = time.perf_counter()
        super().hand_over(runnable)

    def _schedule(self, runnable: Runnable) -> None:
        self.put_at[runnable.name] = time.perf_counter()
        super()._schedule(runnable)

    def _go_on_with(self, runnable: Runnable) -> None:
        worker = threading.current_thread()
        if isinstance(worker, Worker) and worker.next is not None:
            self.put_at[worker.next.name] = time.perf_counter()
        super()._go_on_with(runnable)

    def _start_worker(self, queue: RunQueue, name: str) -> None:
        worker = WatchedWorker(self, queue, name)
        self._workers = [*(worker for worker in self._workers if worker.is_alive()), worker]
        worker.start()
