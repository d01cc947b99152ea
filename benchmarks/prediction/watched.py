"""The threads engine with a watch: how long turns and computations take, and until a worker that sleeps is awake."""

import threading
import time
from collections import defaultdict

from akkordeon.engines import Threads
from akkordeon.engines.pool import Lane, Seat, Worker

Samples = dict[tuple[str, str, str], list[tuple[float, float]]]
"""When it was over and how many seconds it took, by what it was ("turn", "work", "wake"), actor and kind."""


class WatchedWorker(Worker):
    """Times turns and computations, each with what the engine does around it, and how long it takes to wake."""

    def _pick(self) -> Seat | None:
        engine = self._engine
        assert isinstance(engine, WatchedThreads)
        sleeps = self.next is None and not self.lane.ready
        seat = super()._pick()
        if sleeps and seat is not None:
            engine.note("wake", seat.name, "wake", engine.put_at[seat.name])
        return seat

    def _take_turns(self, seat: Seat) -> None:
        engine = self._engine
        assert isinstance(engine, WatchedThreads)
        began = time.perf_counter()
        turn = engine.begin_turn(seat)
        while turn is not None:
            function, arguments = turn
            function(*arguments)
            kind = seat.kind
            job = engine.finish_turn(seat)
            began = engine.note("turn", seat.name, kind, began)
            if job is None:
                return
            if self.next is not None:
                kept, self.next = self.next, None
                engine.hand_over(kept)
            job.run()
            turn = engine.finish_job(seat, job)
            began = engine.note("work", seat.name, kind, began)


class WatchedThreads(Threads):
    """The threads engine with a watch."""

    def __init__(self, workers: int) -> None:
        self.samples: Samples = defaultdict(list)
        self.counts = False
        self.put_at: dict[str, float] = {}
        super().__init__(workers)

    def note(self, what: str, name: str, kind: str, began: float) -> float:
        """Note how long something took; return the time."""
        now = time.perf_counter()
        if self.counts:
            self.samples[what, name, kind].append((now, now - began))
        return now

    def hand_over(self, seat: Seat) -> None:
        """Note when."""
        self.put_at[seat.name] = time.perf_counter()
        super().hand_over(seat)

    def _schedule(self, seat: Seat) -> None:
        self.put_at[seat.name] = time.perf_counter()
        super()._schedule(seat)

    def _go_on_with(self, seat: Seat) -> None:
        worker = threading.current_thread()
        if isinstance(worker, Worker) and worker.next is not None:
            self.put_at[worker.next.name] = time.perf_counter()
        super()._go_on_with(seat)

    def _start_worker(self, lane: Lane, name: str) -> None:
        worker = WatchedWorker(self, lane, name)
        self._workers = [*(worker for worker in self._workers if worker.is_alive()), worker]
        worker.start()
