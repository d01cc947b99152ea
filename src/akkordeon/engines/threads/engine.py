"""The embedded engine: many actors on a fixed pool of worker threads, run to completion.

An actor is scheduled when it has a turn to take. A worker that made an actor ready goes on with it itself, without
waking another thread, unless it has a computation to run first: a hand-over within one thread costs a microsecond,
waking a sleeping core some hundred. Nothing is copied.

Invariant: all state of cells and lanes is touched under the engine's one lock; turns and work run outside of it.
"""

import logging
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import TimeoutError as AnswerTimeout
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from akkordeon.actor import Actor, Context, Ended, Inbox, Ref
from akkordeon.engines.debug import WriteDetector
from akkordeon.engines.intraop import OneThread
from akkordeon.engines.mailbox import Ask, Job, Turn, refuse_place
from akkordeon.engines.posix import available_cores
from akkordeon.engines.pool import NOTHING, Clock, Runnable, RunQueue, Worker
from akkordeon.engines.scaling import STANDBY
from akkordeon.errors import ActorNotFound, NameTaken, NoAnswer

logger = logging.getLogger(__name__)

STACK = 6
"""Innermost frames of a worker's stack to show."""


class Threads:
    """Actors on `workers` threads of this process (default: one per core), one intra-op thread each.

    Args:
        workers: size of the pool.
        debug: copy every tensor that is sent and compare it later; a write into one is an error
            (`SharedTensorWritten`). Slow; for tests.
        patience: how many seconds `close` waits for a computation or a loader that does not end.
    """

    here: str | None = None

    def __init__(self, workers: int | None = None, *, debug: bool = False, patience: float = 5.0) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.random_lock = threading.RLock()
        self.dead_letters = 0
        self._lock = threading.Lock()
        self._one_thread = OneThread()
        self._witness = WriteDetector() if debug else None
        self._patience = patience
        self._seats: dict[str, Runnable] = {}
        self._workers: list[Worker] = []
        self._clock = Clock()
        self._closed = False
        number_of_workers = workers or available_cores()
        self.computations = min(2, number_of_workers)
        self._pool = RunQueue(self._lock, number_of_workers, STANDBY, self._clock.add)
        for number in range(number_of_workers + STANDBY):
            self._start_worker(self._pool, f"akkordeon worker {number}")

    def spawn(
        self,
        name: str,
        make: Callable[[], Actor],
        *,
        computations: int = 1,
        blocking: bool = False,
        place: str | None = None,
    ) -> Ref:
        """See `akkordeon.actor.Engine.spawn`."""
        refuse_place(name, place)
        with self._lock:
            if self._closed:
                raise RuntimeError(f"cannot spawn {name}: the engine is closed")
            if name in self._seats:
                raise NameTaken(f"an actor named {name!r} is alive; stop it first, or choose another name")
            lane = RunQueue(self._lock) if blocking else self._pool
            seat = self._seats[name] = Runnable(name, make, computations, lane)
            seat.context = self.scope(seat)
            if blocking:
                self._start_worker(lane, f"akkordeon {name}")
            self._schedule(seat)
        return seat.context.me

    def find(self, name: str) -> Ref:
        """See `akkordeon.actor.Engine.find`."""
        with self._lock:
            if name not in self._seats:
                raise ActorNotFound(f"no actor named {name!r}; there are: {', '.join(self._seats) or 'none'}")
            return self._seats[name].context.me

    def watch(self, ref: Ref, watcher: Ref) -> None:
        """See `akkordeon.actor.Engine.watch`."""
        assert isinstance(ref, _Ref)
        self.watch_seat(ref.seat, watcher)

    def stop(self, ref: Ref) -> None:
        """See `akkordeon.actor.Engine.stop`."""
        assert isinstance(ref, _Ref)
        self.end(ref.seat, None)

    def inbox(self, name: str) -> Inbox:
        """See `akkordeon.actor.Engine.inbox`."""
        return _Inbox(self, name)

    def places(self) -> tuple[str, ...]:
        """See `akkordeon.actor.Engine.places`."""
        return ()

    def close(self) -> None:
        """End all actors and the pool, and put torch's thread setting back.

        A computation or a loader that does not end within `patience` seconds is left behind, and named in a warning.

        Raises:
            SharedTensorWritten: in debug mode, when a tensor was written after it was sent.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            seats = list(self._seats.values())
        for seat in seats:
            self.end(seat, None)
        self._clock.close()
        with self._lock:
            self._pool.close()
        self._join()
        self._one_thread.close()
        if self._witness:
            self._witness.check()

    def deliver(self, seat: Runnable, item: object) -> None:
        """Put a message or a question into a mailbox and see that somebody will handle it."""
        if self._witness:
            self._witness.saw(item, _who(), seat.name)
        with self._lock:
            if not seat.ended:
                seat.put(item)
                if not seat.scheduled and seat.ready:
                    self._schedule(seat)
                return
            self.dead_letters += 1
        if isinstance(item, Ask):
            item.answer.set_exception(seat.failure())

    def watch_seat(self, seat: Runnable, watcher: Ref) -> None:
        """Tell `watcher` when an actor has ended."""
        with self._lock:
            if not seat.ended:
                seat.watchers.append(watcher)
                return
        watcher.tell(Ended(seat.context.me, seat.reason))

    def scope(self, seat: Runnable) -> Context:
        """Give an actor its address, and what it may do. Called with the lock held."""
        return _Context(self, seat)

    def later(self, seconds: float, ref: Ref, message: object) -> None:
        """Deliver after a while."""
        self._clock.add(seconds, partial(ref.tell, message))

    # What workers call.

    def begin_turn(self, seat: Runnable) -> Turn | None:
        """Take the next turn of an actor, unless it has ended."""
        with self._lock:
            if seat.ended:
                return None
            seat.lane.took_turn(time.monotonic())
            return seat.take()

    def finish_turn(self, seat: Runnable) -> Job | None:
        """End the turn of an actor; return the computation it asked for."""
        with self._lock:
            job = seat.finish()
            seat.scheduled = seat.ready and not seat.ended
            if seat.scheduled:
                self._go_on_with(seat)
        return job

    def finish_job(self, seat: Runnable, job: Job) -> Turn | None:
        """Note that a computation is done; return the actor's next turn, unless others have it in hand."""
        with self._lock:
            job.done = True
            if seat.scheduled or seat.ended or not seat.ready:
                return None
            seat.scheduled = True
            return seat.take()

    def hand_over(self, seat: Runnable) -> None:
        """Leave an actor to any worker that has time."""
        with self._lock:
            seat.lane.put(seat)

    def end(self, seat: Runnable, reason: BaseException | None) -> None:
        """End an actor and tell its watchers."""
        with self._lock:
            if seat.ended:
                return
            seat.end(reason)
            watchers, seat.watchers = seat.watchers, []
            del self._seats[seat.name]
            if seat.lane is not self._pool:
                seat.lane.close()
        if reason is not None and not watchers:
            logger.error("%s has failed, and nobody watched it", seat.name, exc_info=reason)
        for watcher in watchers:
            watcher.tell(Ended(seat.context.me, reason))

    def look(self) -> str:
        """See `akkordeon.actor.Engine.look`."""
        with self._lock:
            lines = [seat.look(time.monotonic()) for seat in self._seats.values()]
        frames = sys._current_frames()
        for worker in self._workers:
            lines.append(f"{worker.name} is busy with {worker.doing}")
            if worker.doing != NOTHING and (frame := frames.get(worker.ident or 0)) is not None:
                lines += [line.rstrip() for line in traceback.format_stack(frame)[-STACK:]]
        return "\n".join(lines)

    def busy(self) -> str:
        """Say what the workers of the pool are busy with."""
        doing = [worker.doing for worker in self._workers if worker.lane is self._pool]
        if NOTHING in doing:
            doing.remove(NOTHING)  # of the one that stands by
        return f"the {len(doing)} workers are busy with: {', '.join(doing)}"

    def _schedule(self, seat: Runnable) -> None:
        seat.scheduled = True
        worker = threading.current_thread()
        if isinstance(worker, Worker) and worker.lane is seat.lane and worker.next is None:
            worker.next = seat
        else:
            seat.lane.put(seat)

    def _go_on_with(self, seat: Runnable) -> None:
        """Stay with an actor whose data this core has at hand; whatever else was kept is for others."""
        worker = threading.current_thread()
        assert isinstance(worker, Worker)
        if worker.next is not None:
            seat.lane.put(worker.next)
        worker.next = seat

    def _start_worker(self, lane: RunQueue, name: str) -> None:
        worker = Worker(self, lane, name)
        self._workers = [*(worker for worker in self._workers if worker.is_alive()), worker]
        worker.start()

    def _join(self) -> None:
        deadline = time.monotonic() + self._patience
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        if left := [f"{worker.name} (busy with {worker.doing})" for worker in self._workers if worker.is_alive()]:
            what = f"left behind after {self._patience:g} s, because it does not end: {', '.join(left)}"
            warnings.warn(what, RuntimeWarning, stacklevel=3)


class _Ref:
    """The address of an actor on this engine."""

    __slots__ = ("_engine", "name", "seat")

    def __init__(self, engine: Threads, seat: Runnable) -> None:
        self._engine = engine
        self.seat = seat
        self.name = seat.name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def tell(self, message: object) -> None:
        self._engine.deliver(self.seat, message)

    def ask(self, message: object, *, timeout: float) -> Any:
        if isinstance(threading.current_thread(), Worker):
            raise RuntimeError(f"an actor asked {self.name}; it would hold up a worker: tell it instead")
        ask = Ask(message)
        self._engine.deliver(self.seat, ask)
        try:
            return ask.answer.result(timeout)
        except AnswerTimeout:
            raise NoAnswer(
                f"{self.name} did not answer {type(message).__name__} within {timeout:g} s; {self._engine.busy()}"
            ) from None


class _Context:
    """What one actor may do."""

    def __init__(self, engine: Threads, seat: Runnable) -> None:
        self.me: Ref = _Ref(engine, seat)
        self.random_lock: AbstractContextManager[object] = engine.random_lock
        self.compute = seat.compute
        self.in_order = seat.in_order
        self.spawn = engine.spawn
        self.find = engine.find
        self.watch = engine.watch
        self.stop = engine.stop
        self.look = engine.look
        self.places = engine.places
        self.now = time.monotonic
        self._later = engine.later

    def tell_later(self, seconds: float, message: object) -> None:
        self._later(seconds, self.me, message)


class _Inbox(Actor):
    """A queue that actors can tell things to: an actor that passes them on."""

    def __init__(self, engine: Threads, name: str) -> None:
        self._messages: deque[object] = deque()
        self._arrived = threading.Condition()
        self._engine = engine
        self.ref = engine.spawn(name, lambda: self)

    def receive(self, message: object, context: object) -> object:  # noqa: ARG002
        with self._arrived:
            self._messages.append(message)
            self._arrived.notify()
        return None

    def take(self, *, timeout: float) -> Any:
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._messages, timeout):
                raise NoAnswer(f"nothing came to {self.ref.name} within {timeout:g} s")
            return self._messages.popleft()

    def close(self) -> None:
        self._engine.stop(self.ref)


def _who() -> str:
    worker = threading.current_thread()
    return worker.doing if isinstance(worker, Worker) else "outside"
