"""Runs the actors of one process on a pool of worker threads: messages, turns, computations and timers.

An actor is scheduled when it has a turn to take. A worker that made an actor ready goes on with it itself, without
waking another thread, unless it has a computation to run first: a hand-over within one thread costs a microsecond,
waking a sleeping core some hundred. All others wait in the queues of `akkordeon.engines.pool`. Nothing is copied.

Invariant: all state of mailboxes and queues is touched under the one lock; turns and computations run outside of it.
"""

import logging
import sys
import threading
import time
import traceback
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from akkordeon.actor import Context, Ended, Inbox, Make, Ref
from akkordeon.engines.context import LocalInbox
from akkordeon.engines.debug import WriteDetector
from akkordeon.engines.intraop import OneThread, use_one_thread
from akkordeon.engines.mailbox import Ask, Job, Turn, refuse_place
from akkordeon.engines.pool import FAIRNESS, Clock, Runnable, RunQueue
from akkordeon.engines.scaling import STANDBY
from akkordeon.errors import NameTaken, NoAnswer

logger = logging.getLogger(__name__)

IDLE = "nothing"
"""What an idle worker is busy with."""

STACK = 6
"""Innermost frames of a worker's stack to show."""


class LocalActors(ABC):
    """The actors of this process. An engine adds how they are addressed.

    Args:
        workers: size of the pool.
        debug: find writes into tensors that were sent.
        patience: how many seconds `close` waits for a computation or a loader that does not end.
    """

    loses_messages = False

    def __init__(self, workers: int, *, debug: bool = False, patience: float = 5.0) -> None:
        self._lock = threading.Lock()
        self._one_thread = OneThread()
        self._detector = WriteDetector() if debug else None
        self._patience = patience
        self._runnables: dict[str, Runnable] = {}
        self._workers: list[Worker] = []
        self._clock = Clock()
        self._closed = False
        self._pool = RunQueue(self._lock, workers, STANDBY, self._clock.add)
        for number in range(workers + STANDBY):
            self._start_worker(self._pool, f"akkordeon worker {number}")

    # What an engine says.

    @abstractmethod
    def context(self, runnable: Runnable) -> Context:
        """Make the context of a new actor, with its address. Called with the lock held."""

    @abstractmethod
    def runnable(self, ref: Ref) -> Runnable:
        """Return the actor that an address is of."""

    # What engines, refs and contexts call.

    def spawn(
        self, name: str, make: Make, *, computations: int = 1, blocking: bool = False, place: str | None = None
    ) -> Ref:
        """Start an actor in this process."""
        refuse_place(name, place)
        with self._lock:
            if self._closed:
                raise RuntimeError(f"cannot spawn {name}: the engine is closed")
            if name in self._runnables:
                raise NameTaken(f"an actor named {name!r} is alive; stop it first, or choose another name")
            queue = RunQueue(self._lock) if blocking else self._pool
            runnable = self._runnables[name] = Runnable(name, make, computations, queue)
            runnable.context, runnable.made = self.context(runnable), time.monotonic()
            if blocking:
                self._start_worker(queue, f"akkordeon {name}")
            self._schedule(runnable)
        return runnable.context.me

    def deliver(self, runnable: Runnable, item: object) -> None:
        """Put a message or a question into a mailbox, and schedule the actor."""
        if self._detector:
            self._detector.saw(item, _sender(), runnable.name)
        with self._lock:
            if not runnable.ended:
                if runnable.probe is None:
                    runnable.measure(item)
                runnable.put(item)
                if not runnable.scheduled and runnable.ready:
                    self._schedule(runnable)
                return
        if isinstance(item, Ask):
            item.answer.set_exception(runnable.failure())

    def ask(self, runnable: Runnable, message: object, timeout: float) -> Any:
        """Ask an actor, from outside of actors; see `akkordeon.actor.Ref.ask`."""
        refuse_to_ask(runnable.name)
        ask = Ask(message)
        self.deliver(runnable, ask)
        try:
            return ask.answer.result(timeout)
        except TimeoutError:
            what = f"{runnable.name} did not answer {type(message).__name__} within {timeout:g} s"
            raise NoAnswer(f"{what}; {self._busy()}") from None

    def watch(self, ref: Ref, watcher: Ref) -> None:
        """Tell `watcher` when an actor has ended."""
        runnable = self.runnable(ref)
        with self._lock:
            if not runnable.ended:
                runnable.watchers.append(watcher)
                return
        watcher.tell(Ended(runnable.context.me, runnable.reason))

    def stop(self, ref: Ref) -> None:
        """End an actor."""
        self.end(self.runnable(ref), None)

    def now(self, runnable: Runnable | None = None) -> float:  # noqa: ARG002
        """Return the seconds on the clock that all actors share."""
        return time.monotonic()

    def later(self, runnable: Runnable, seconds: float, message: object) -> None:
        """Deliver after a while."""
        self._clock.add(seconds, partial(self.deliver, runnable, message))

    def inbox(self, name: str, then: Callable[[object], None] | None = None) -> Inbox:
        """Open a mailbox for code outside actors."""
        inbox = LocalInbox(self, then)
        inbox.ref = self.spawn(name, lambda: inbox)
        return inbox

    def wait(self, arrived: threading.Condition, messages: deque[object], timeout: float) -> bool:
        """Wait until there are messages, with the lock of `arrived` held; return whether there are."""
        return bool(arrived.wait_for(lambda: messages, timeout))

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
            runnables = list(self._runnables.values())
        for runnable in runnables:
            self.end(runnable, None)
        self._clock.close()
        with self._lock:
            self._pool.close()
        self._join()
        self._one_thread.close()
        if self._detector:
            self._detector.check()

    def look(self) -> str:
        """Describe what waits in each mailbox and what the workers do, with their stacks."""
        with self._lock:
            lines = [runnable.look(time.monotonic()) for runnable in self._runnables.values()]
        frames = sys._current_frames()
        for worker in self._workers:
            lines.append(f"{worker.name} is busy with {worker.doing}")
            if worker.doing != IDLE and (frame := frames.get(worker.ident or 0)) is not None:
                lines += [line.rstrip() for line in traceback.format_stack(frame)[-STACK:]]
        return "\n".join(lines)

    # What workers call.

    def begin_turn(self, runnable: Runnable) -> Turn | None:
        """Take the next turn of an actor, unless it has ended."""
        with self._lock:
            if runnable.ended:
                return None
            runnable.queue.took_turn(time.monotonic())
            return runnable.take()

    def finish_turn(self, runnable: Runnable) -> Job | None:
        """End the turn of an actor; return the computation it asked for."""
        with self._lock:
            job = runnable.finish()
            runnable.scheduled = runnable.ready and not runnable.ended
            if runnable.scheduled:
                self._go_on_with(runnable)
            elif not runnable.computing:
                runnable.idle = time.monotonic()
        return job

    def finish_job(self, runnable: Runnable, job: Job) -> Turn | None:
        """Note that a computation is done; return the actor's next turn, unless another worker has it in hand."""
        now = time.monotonic()
        with self._lock:
            job.done, job.over = True, now
            if runnable.scheduled or runnable.ended or not runnable.ready:
                return None
            runnable.scheduled = True
            return runnable.take()

    def hand_over(self, runnable: Runnable) -> None:
        """Leave an actor to any worker that has time."""
        with self._lock:
            runnable.queue.put(runnable)

    def end(self, runnable: Runnable, reason: BaseException | None) -> None:
        """End an actor and tell its watchers."""
        with self._lock:
            if runnable.ended:
                return
            runnable.end(reason)
            watchers, runnable.watchers = runnable.watchers, []
            del self._runnables[runnable.name]
            if runnable.queue is not self._pool:
                runnable.queue.close()
        if reason is not None and not watchers:
            logger.error("%s has failed, and nobody watched it", runnable.name, exc_info=reason)
        for watcher in watchers:
            watcher.tell(Ended(runnable.context.me, reason))

    def _schedule(self, runnable: Runnable) -> None:
        """Have an actor's turn taken: by this worker, if it has no other to go on with, else by any."""
        runnable.scheduled = True
        if runnable.idle is not None:
            runnable.starved += time.monotonic() - runnable.idle
            runnable.idle = None
        worker = threading.current_thread()
        if isinstance(worker, Worker) and worker.queue is runnable.queue and worker.next is None:
            worker.next = runnable
        else:
            runnable.queue.put(runnable)

    def _go_on_with(self, runnable: Runnable) -> None:
        """Stay with an actor whose data this core has at hand; leave the one that was kept to others."""
        worker = threading.current_thread()
        assert isinstance(worker, Worker)
        if worker.next is not None:
            runnable.queue.put(worker.next)
        worker.next = runnable

    def _busy(self) -> str:
        doing = [worker.doing for worker in self._workers if worker.queue is self._pool]
        if IDLE in doing:
            doing.remove(IDLE)  # of the one on standby
        return f"the {len(doing)} workers are busy with: {', '.join(doing)}"

    def _start_worker(self, queue: RunQueue, name: str) -> None:
        worker = Worker(self, queue, name)
        self._workers = [*(worker for worker in self._workers if worker.is_alive()), worker]
        worker.start()

    def _join(self) -> None:
        deadline = time.monotonic() + self._patience
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        if left := [f"{worker.name} (busy with {worker.doing})" for worker in self._workers if worker.is_alive()]:
            what = f"left behind after {self._patience:g} s, because it does not end: {', '.join(left)}"
            warnings.warn(what, RuntimeWarning, stacklevel=3)


class Worker(threading.Thread):
    """Takes turns of the actors of one queue, and runs the computations they ask for."""

    def __init__(self, engine: LocalActors, queue: RunQueue, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.queue = queue
        self.next: Runnable | None = None  # an actor that this worker made ready, and whose data are in its cache
        self.doing = IDLE
        self._engine = engine
        self._in_a_row = 0

    def run(self) -> None:
        """Take turns until the queue is closed."""
        use_one_thread()
        while (runnable := self._pick()) is not None:
            self.doing = runnable.name
            try:
                self._take_turns(runnable)
            except BaseException as error:  # noqa: BLE001 - all that an actor raises must reach its watchers
                self._engine.end(runnable, error)
            self.doing = IDLE

    def _take_turns(self, runnable: Runnable) -> None:
        turn = self._engine.begin_turn(runnable)
        while turn is not None:
            function, arguments = turn
            function(*arguments)
            job = self._engine.finish_turn(runnable)
            if job is None:
                return
            # The computation comes first and takes long, so another worker goes on with the actor that was made
            # ready meanwhile: this is where the pool's parallelism comes from.
            if self.next is not None:
                kept, self.next = self.next, None
                self._engine.hand_over(kept)
            job.began = time.monotonic()
            job.run()
            turn = self._engine.finish_job(runnable, job)

    def _pick(self) -> Runnable | None:
        """Go on with the actor that this worker made ready, else take one from the queue.

        Two actors that only talk to each other would hold a worker for ever; hence `FAIRNESS`.
        """
        runnable, self.next = self.next, None
        self._in_a_row += 1
        stays = (self._in_a_row <= FAIRNESS or not self.queue.ready) and not self.queue.is_crowded
        if runnable is not None and stays:
            return runnable
        self._in_a_row = 0
        if runnable is not None:
            self._engine.hand_over(runnable)
        return self.queue.get()


def refuse_to_ask(name: str) -> None:
    """Make sure that it is no actor that asks: it would hold up a worker, perhaps the one that is to answer.

    Raises:
        RuntimeError: it is.
    """
    if isinstance(threading.current_thread(), Worker):
        raise RuntimeError(f"an actor asked {name}; it would hold up a worker: tell it instead")


def _sender() -> str:
    worker = threading.current_thread()
    return worker.doing if isinstance(worker, Worker) else "outside"
