"""The post office of a process: sends to actors wherever they live, asks, watches and stops them.

There is one per process (`post`), for refs are values: whoever gets one can use it.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayError

from akkordeon.actor import Ended, Ref, Urgent
from akkordeon.engines.pool import Worker
from akkordeon.engines.ray.calls import after, kill, told
from akkordeon.engines.ray.wire import pack, unpack
from akkordeon.errors import ActorFailed, NoAnswer

HOLD = 60.0
"""Seconds after which a process that still watches says so again: then nothing is left of one that is gone."""

GRACE = 2.0
"""Seconds that a process has to end by itself when it is stopped."""


class Process(NamedTuple):
    """The Ray actor that some actors live in.

    Args:
        space: Ray's namespace: one per network.
        name: of the Ray actor; no other ever has it.
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
        """See `akkordeon.actor.Ref.tell`."""
        post.tell(self, message)

    def ask(self, message: object, *, timeout: float) -> Any:
        """See `akkordeon.actor.Ref.ask`."""
        return post.ask(self, message, timeout)


def _ref(name: str, space: str, process: str, number: int) -> RayRef:
    return RayRef(name, Process(space, process), number)


class Here(Protocol):
    """The actors of this process."""

    def tell(self, ref: RayRef, message: object) -> None:
        """Deliver without a detour."""

    def watch(self, ref: RayRef, watcher: Ref) -> None:
        """As `Engine.watch`."""

    def stop(self, ref: RayRef) -> None:
        """As `Engine.stop`."""


class _Watcher(Protocol):
    def tell(self, message: object) -> None: ...


class _Doors:
    """The methods of another process, ready to be called; none leaves a reference behind, but those that answer."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.deliver = handle.deliver.options(num_returns=0)
        self.press = handle.press.options(num_returns=0)
        self.end = handle.end.options(num_returns=0)
        self.ask = handle.ask
        self.gone = handle.gone


class Transport:
    """Sends, asks, watches and stops."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self.here: Here | None = None
        self.dead_letters = 0
        self._doors: dict[Process, _Doors] = {}
        self._stopped: set[RayRef] = set()
        self._watched: dict[RayRef, list[_Watcher]] = {}
        self._lock = threading.Lock()
        self._news: queue.SimpleQueue[tuple[RayRef, Any]] = queue.SimpleQueue()
        self._reader: threading.Thread | None = None

    def settle(self, process: Process, here: Here) -> None:
        """Say which actors live in this process."""
        self.process, self.here = process, here

    def forget_all(self) -> None:
        """Drop all connections; a new one may follow."""
        with self._lock:
            self._doors.clear()
            self._stopped.clear()
            self._watched.clear()

    def tell(self, ref: RayRef, message: object) -> None:
        """See `akkordeon.actor.Ref.tell`."""
        if ref.process == self.process:
            assert self.here is not None
            self.here.tell(ref, message)
        elif (doors := self._find(ref)) is None:
            self.dead_letters += 1
        else:
            data, buffers = pack(message)
            (doors.press if isinstance(message, Urgent) else doors.deliver).remote(ref.number, data, *buffers)

    def ask(self, ref: RayRef, message: object, timeout: float) -> Any:
        """See `akkordeon.actor.Ref.ask`."""
        if isinstance(threading.current_thread(), Worker):
            raise RuntimeError(f"an actor asked {ref.name}; it would hold up a worker: tell it instead")
        doors = self._find(ref)
        if doors is None:
            raise ActorFailed(f"{ref.name} has ended")
        data, buffers = pack(message)
        try:
            answer = ray.get(doors.ask.remote(ref.number, timeout, data, *buffers), timeout=timeout)
        except GetTimeoutError:
            raise NoAnswer(f"{ref.name} did not answer {type(message).__name__} within {timeout:g} s") from None
        except ActorUnavailableError:
            what = f"{type(message).__name__} to {ref.name}, or the answer, was lost on its way"
            raise NoAnswer(f"{what}: its machine or the connection is in trouble; look, then ask again") from None
        except RayActorError as error:
            raise ActorFailed(f"{ref.name} has ended: {told(error)}") from error
        value = unpack(*answer)
        if isinstance(value, Raised):
            raise value.error
        return value

    def watch(self, ref: RayRef, watcher: _Watcher) -> None:
        """See `akkordeon.actor.Engine.watch`."""
        if ref.process == self.process:
            assert self.here is not None
            self.here.watch(ref, watcher)  # type: ignore[arg-type]
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
        """See `akkordeon.actor.Engine.stop`."""
        if ref.process == self.process:
            assert self.here is not None
            self.here.stop(ref)
            return
        doors = self._find(ref)
        self._stopped.add(ref)
        if doors is not None:
            doors.end.remote(ref.number)
            if ref.number == 0:
                after(GRACE, partial(kill, doors.handle))

    def stopped(self) -> set[Process]:
        """Return the processes whose first actor was stopped from here."""
        return {ref.process for ref in self._stopped if ref.number == 0}

    def know(self, process: Process, handle: Any) -> None:
        """Remember the way to a process that was made here."""
        self._doors[process] = _Doors(handle)

    def doors(self, process: Process) -> _Doors | None:
        """Return the methods of a process, or None if there is no such."""
        doors = self._doors.get(process)
        if doors is None:
            if not ray.is_initialized():  # this process has left the cluster
                return None
            try:
                handle = ray.get_actor(process.name, process.space)
            except ValueError:
                return None
            doors = self._doors[process] = _Doors(handle)
        return doors

    def _find(self, ref: RayRef) -> _Doors | None:
        return None if ref in self._stopped else self.doors(ref.process)

    # Watching: one call per actor watched stays open in its process, and comes back when the actor ends.

    def _hold(self, ref: RayRef) -> None:
        doors = self.doors(ref.process)
        if doors is None:
            self._news.put((ref, None))
            return
        future = doors.gone.remote(ref.number, HOLD).future()
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
                self._ended(ref, None if ref in self._stopped else ActorFailed(f"{ref.name} has ended: {told(error)}"))
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
                self._doors.pop(ref.process, None)
        for watcher in watchers:
            watcher.tell(Ended(ref, reason))


@dataclass(frozen=True)
class Raised:
    """In place of an answer: what is raised instead."""

    error: BaseException


def answered(answer: Callable[[], object]) -> tuple[bytes, list[Any]]:
    """Pack an answer, or what came instead."""
    try:
        return pack(answer())
    except BaseException as error:  # noqa: BLE001 - it is raised where the question came from
        return pack(Raised(error))


post = Transport()
