"""Sends messages to actors in other processes, asks, watches and stops them.

A process has one transport (`transport`): refs are plain values that travel in messages, and must work in any process
that they come to, so they find it by name. It follows that a process is connected to one cluster at a time.
"""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayError

from akkordeon.actor import Ended, Urgent
from akkordeon.engines.local import LocalActors, refuse_to_ask
from akkordeon.engines.ray.calls import after, kill, why_ended
from akkordeon.engines.ray.wire import pack, unpack
from akkordeon.errors import ActorFailed, NoAnswer

HOLD = 60.0
"""Seconds that a watching call stays open before it is made again, so that no call outlives a watcher for long."""

PROCESS_GRACE = 2.0
"""Seconds that a process has to end by itself when it is stopped."""


class Process(NamedTuple):
    """The Ray actor that some actors live in.

    Args:
        space: Ray's namespace: one per network.
        name: of the Ray actor, never used again.
    """

    space: str
    name: str


@dataclass(frozen=True, slots=True)
class RayRef:
    """The address of an actor, in any process.

    Args:
        name: the name it was spawned under.
        process: where it lives.
        number: which of the actors there; 0 is the first.
    """

    name: str
    process: Process
    number: int = 0

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _ref, (self.name, *self.process, self.number)

    def tell(self, message: object) -> None:
        """Do as `akkordeon.actor.Ref.tell` says."""
        transport.tell(self, message)

    def ask(self, message: object, *, timeout: float) -> Any:
        """Do as `akkordeon.actor.Ref.ask` says."""
        return transport.ask(self, message, timeout)


def _ref(name: str, space: str, process: str, number: int) -> RayRef:
    return RayRef(name, Process(space, process), number)


class _Methods:
    """The methods of another process, ready to be called. Those that answer nothing leave no reference behind."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.deliver = handle.deliver.options(num_returns=0)
        self.deliver_urgent = handle.deliver_urgent.options(num_returns=0)
        self.end = handle.end.options(num_returns=0)


class Transport:
    """Sends, asks, watches and stops."""

    def __init__(self) -> None:
        self.process: Process | None = None  # this one, set with the actors in it
        self.here: LocalActors | None = None
        self._methods: dict[Process, _Methods] = {}
        self._stopped: set[RayRef] = set()
        self._watched: dict[RayRef, list[Any]] = {}
        self._lock = threading.Lock()
        self._news: queue.SimpleQueue[tuple[RayRef, Any]] = queue.SimpleQueue()
        self._reader: threading.Thread | None = None

    def forget_all(self) -> None:
        """Drop all that is known of a cluster; this process may join another one."""
        with self._lock:
            self._methods.clear()
            self._stopped.clear()
            self._watched.clear()

    def tell(self, ref: RayRef, message: object) -> None:
        """Do as `akkordeon.actor.Ref.tell` says."""
        if (here := self._local(ref)) is not None:
            here.deliver(here.runnable(ref), message)
        elif (methods := self._find(ref)) is not None:
            data, buffers = pack(message)
            deliver = methods.deliver_urgent if isinstance(message, Urgent) else methods.deliver
            deliver.remote(ref.number, data, *buffers)

    def ask(self, ref: RayRef, message: object, timeout: float) -> Any:
        """Do as `akkordeon.actor.Ref.ask` says."""
        refuse_to_ask(ref.name)
        if (methods := self._find(ref)) is None:
            raise ActorFailed(f"{ref.name} has ended")
        data, buffers = pack(message)
        try:
            answer = ray.get(methods.handle.ask.remote(ref.number, timeout, data, *buffers), timeout=timeout)
        except GetTimeoutError:
            raise NoAnswer(f"{ref.name} did not answer {type(message).__name__} within {timeout:g} s") from None
        except ActorUnavailableError:
            # An ask is not repeated: it may have been carried out, with only its answer lost.
            what = f"{type(message).__name__} to {ref.name}, or the answer, was lost on its way"
            raise NoAnswer(f"{what}: its machine or the connection is in trouble; look, then ask again") from None
        except RayActorError as error:
            raise ActorFailed(f"{ref.name} has ended: {why_ended(error)}") from error
        return result(answer)

    def watch(self, ref: RayRef, watcher: Any) -> None:
        """Do as `akkordeon.actor.Actors.watch` says; `watcher` is a ref, or has the `tell` of one."""
        if (here := self._local(ref)) is not None:
            here.watch(ref, watcher)
        elif ref in self._stopped:
            watcher.tell(Ended(ref, None))
        else:
            with self._lock:
                watchers = self._watched.setdefault(ref, [])
                watchers.append(watcher)
                first = len(watchers) == 1
                if self._reader is None:
                    self._reader = threading.Thread(target=self._read, name="akkordeon watch", daemon=True)
                    self._reader.start()
            if first:
                self._hold(ref)

    def stop(self, ref: RayRef) -> None:
        """Do as `akkordeon.actor.Actors.stop` says."""
        if (here := self._local(ref)) is not None:
            here.stop(ref)
            return
        methods = self._find(ref)
        self._stopped.add(ref)  # from here on it counts as ended, even if it cannot be reached
        if methods is not None:
            methods.end.remote(ref.number)
            if ref.number == 0:
                after(PROCESS_GRACE, partial(kill, methods.handle))

    def stopped(self) -> set[Process]:
        """Return the processes whose first actor was stopped from here."""
        return {ref.process for ref in self._stopped if ref.number == 0}

    def add(self, process: Process, handle: Any) -> None:
        """Remember how to call a process that was made here."""
        self._methods[process] = _Methods(handle)

    def methods(self, process: Process) -> _Methods | None:
        """Return the methods of a process, or None if there is no such process."""
        methods = self._methods.get(process)
        if methods is None and ray.is_initialized():  # else this process has left the cluster
            with suppress(ValueError):
                methods = self._methods[process] = _Methods(ray.get_actor(process.name, process.space))
        return methods

    def _find(self, ref: RayRef) -> _Methods | None:
        return None if ref in self._stopped else self.methods(ref.process)

    def _local(self, ref: RayRef) -> LocalActors | None:
        return self.here if ref.process == self.process else None

    # Watching: one call per actor that is watched stays open in its process, and returns when the actor ends.

    def _hold(self, ref: RayRef) -> None:
        if (methods := self.methods(ref.process)) is None:
            self._news.put((ref, None))
            return
        future = methods.handle.await_end.remote(ref.number, HOLD).future()
        future.add_done_callback(lambda done: self._news.put((ref, done)))

    def _read(self) -> None:
        """Take news in a thread of its own: Ray may not be called in the callback of one of its futures."""
        while True:
            ref, done = self._news.get()
            try:
                news = None if done is None else done.result()
            except ActorUnavailableError:
                self._hold(ref)  # the call was lost, which says nothing of the actor
            except RayActorError as error:
                stopped = ref in self._stopped
                self._ended(ref, None if stopped else ActorFailed(f"{ref.name} has ended: {why_ended(error)}"))
            except (RayError, OSError) as error:
                self._ended(ref, ActorFailed(f"{ref.name} cannot be reached: {error}"))
            else:
                if done is None:
                    self._ended(ref, None if ref in self._stopped else ActorFailed(f"{ref.name} has ended"))
                elif news is None:
                    self._hold(ref)
                else:
                    self._ended(ref, unpack(*news))

    def _ended(self, ref: RayRef, reason: BaseException | None) -> None:
        with self._lock:
            watchers = self._watched.pop(ref, [])
            if ref.number == 0:
                self._methods.pop(ref.process, None)
        for watcher in watchers:
            watcher.tell(Ended(ref, reason))


@dataclass(frozen=True)
class Raised:
    """In place of an answer: the error to raise instead."""

    error: BaseException


def answered(answer: Callable[[], object]) -> tuple[bytes, list[Any]]:
    """Pack an answer, or the error that came instead, which is raised where the question came from."""
    try:
        return pack(answer())
    except BaseException as error:  # noqa: BLE001 - see above
        return pack(Raised(error))


def result(packed: tuple[bytes, list[Any]]) -> Any:
    """Return an answer that `answered` packed, or raise the error in its place."""
    value = unpack(*packed)
    if isinstance(value, Raised):
        raise value.error
    return value


transport = Transport()
