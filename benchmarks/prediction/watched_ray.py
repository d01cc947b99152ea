"""Times messages, turns and computations in each process of the engine on Ray.

After `watch`, actors are made by `watched`, which takes the timing along into their processes. Each process writes its
records into a folder, and `seen` reads them.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from akkordeon.actor import Actor, Ref
from akkordeon.engines.local import Worker
from akkordeon.engines.mailbox import Turn
from akkordeon.engines.pool import Runnable
from akkordeon.engines.ray.directory import Directory
from akkordeon.engines.ray.process import ProcessActors
from akkordeon.engines.ray.transport import RayRef, Transport
from benchmarks.common.watched import Samples, take_turns

MANY = 200
"""Records after which a process writes them."""

Key = tuple[str, str, str, int]
"""Identifies a message: its receiver, type, batch and attempt."""


class Watch:
    """Records of this process, written into a file of its own."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"{os.getpid()}.jsonl"
        self._records: list[tuple[Any, ...]] = []
        self._came: dict[int, float] = {}
        self._told: dict[threading.Thread, list[Key]] = {}
        self._ended: dict[threading.Thread, float] = {}

    def comes(self, message: object) -> None:
        """Note that a message has arrived."""
        self._came[id(message)] = time.perf_counter()

    def tells(self, receiver: str, message: object) -> None:
        """Note that this thread sends a message: it leaves when the turn ends, as in the simulation."""
        key = _key(receiver, message)
        if key is not None:
            self._told.setdefault(threading.current_thread(), []).append(key)

    def begins(self, runnable: Runnable, turn: Turn, began: float) -> None:
        """Note when the message of a turn arrived: until a worker is awake, it counts as in transit."""
        message = next(iter(turn[1]), None)
        came, key = self._came.pop(id(message), None), _key(runnable.name, message)
        if came is not None and key is not None:
            slept = self._ended.get(threading.current_thread(), 0.0) <= came
            self._records.append(("came", *key, began if slept else came))

    def note(self, what: str, name: str, kind: str, began: float) -> float:
        """Note how long an event took, and the messages sent in it; return the time."""
        worker, now = threading.current_thread(), time.perf_counter()
        self._ended[worker] = now
        self._records.append((what, name, kind, now, now - began))
        self._records += [("told", *each, name, now) for each in self._told.pop(worker, ())]
        if len(self._records) >= MANY:
            records, self._records = self._records, []
            with self._file.open("a") as file:
                file.writelines(json.dumps(each) + "\n" for each in records)
        return now


def watch(folder: Path) -> None:
    """Time all actors that this process spawns, and those that they spawn."""
    Directory.spawn = _spawning(Directory.spawn, folder)  # type: ignore[method-assign]


def watched(folder: Path, make: Callable[[], Actor]) -> Actor:
    """Make an actor in a process that is timed."""
    if Directory.spawn.__name__ != _spawning.__name__:
        watch(folder)
        _install(Watch(folder))
    return make()


def _spawning(spawn: Callable[..., Ref], folder: Path) -> Any:
    def spawning(directory: Directory, name: str, make: Callable[[], Actor], **settings: Any) -> Ref:
        return spawn(directory, name, partial(watched, folder, make), **settings)

    spawning.__name__ = _spawning.__name__
    return spawning


def _install(watch: Watch) -> None:
    """Patch the workers and the transport of this process."""
    deliver, tell = ProcessActors.deliver, Transport.tell

    def delivering(local: ProcessActors, runnable: Runnable, item: object) -> None:
        watch.comes(item)
        deliver(local, runnable, item)

    def telling(transport: Transport, ref: RayRef, message: object) -> None:
        watch.tells(ref.name, message)
        tell(transport, ref, message)

    def taking_turns(worker: Worker, runnable: Runnable) -> None:
        take_turns(worker, runnable, watch.note, watch.begins)

    changes: Any = [
        (ProcessActors, "deliver", delivering),
        (Transport, "tell", telling),
        (Worker, "_take_turns", taking_turns),
    ]
    for owner, name, function in changes:
        setattr(owner, name, function)


def _key(receiver: str, message: object) -> Key | None:
    """Identify a message of a batch; None for other messages."""
    route = getattr(message, "route", None)
    return None if route is None else (receiver, type(message).__name__, str(route.batch), route.attempt)


def seen(folder: Path, began: float, ended: float) -> Samples:
    """Return the samples between two moments, with the time of each message in transit."""
    samples: Samples = {}
    told: dict[tuple[Any, ...], tuple[str, float]] = {}
    came: dict[tuple[Any, ...], float] = {}
    for what, *rest in _records(folder):
        match what, rest:
            case "told", [*key, sender, when]:
                told[tuple(key)] = sender, when
            case "came", [*key, when]:
                came[tuple(key)] = when
            case _, [name, kind, when, seconds]:
                samples.setdefault((what, name, kind), []).append((when, seconds))
    for message in came.keys() & told.keys():
        (sender, since), when = told[message], came[message]
        samples.setdefault(("link", sender, message[0]), []).append((when, max(0.0, when - since)))
    counted = {key: sorted(each for each in found if began <= each[0] <= ended) for key, found in samples.items()}
    return {key: found for key, found in counted.items() if found}


def _records(folder: Path) -> Iterator[list[Any]]:
    for file in folder.glob("*.jsonl"):
        with file.open() as lines:
            yield from map(json.loads, lines)
