"""The process that makes all other processes of one place, and owns them: when it ends, Ray ends them.

So actors outlive the actor that spawned them, and none outlives the program or terminal that they belong to. It also
holds the inboxes of that program, which is no Ray actor itself.
"""

import itertools
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from akkordeon.actor import Ended, Inbox, Ref
from akkordeon.engines.ray.calls import after, insist, kill
from akkordeon.engines.ray.directory import Directory
from akkordeon.engines.ray.process import PROCESS_GROUPS, ActorProcess, ProcessActors
from akkordeon.engines.ray.transport import Process, RayRef, answered, transport
from akkordeon.engines.ray.wire import pack
from akkordeon.errors import NameTaken, NoAnswer

SPAWNER_GROUPS = {**PROCESS_GROUPS, "spawn": 1, "take": 4}

LINGER = 1.0
"""Seconds until a process is ended whose first actor has ended: its watchers ask it for the reason."""

AT_ONCE = 0.5
"""Seconds that other spawners have to say that an actor of a name is theirs; one that is just starting has none."""

ACTORS_GRACE = 1.0
"""Seconds that actors have to end when all is over; then Ray ends their processes, with the one that owns them."""


Made = tuple[Process, Any]
"""A process, and Ray's handle of it."""


def new_process(spawner: Process, seed: int) -> Made:
    """Make a process on this machine for an actor to come."""
    process = Process(spawner.space, f"process@{time.time_ns():x}")
    return process, as_ray_actor(ActorProcess, PROCESS_GROUPS, process).remote(process, spawner, seed)


def as_ray_actor(kind: type, groups: dict[str, int], process: Process) -> Any:
    """Return a class as a Ray actor on this machine. Ray must retry nothing: it would run calls twice."""
    settings: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0, "num_cpus": 0, "concurrency_groups": groups}
    actor: Any = ray.remote(**settings)(kind)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return actor.options(name=process.name, namespace=process.space, scheduling_strategy=here)


class Spawner(ActorProcess):
    """Spawns, and keeps inboxes.

    Args:
        process: this one.
        seed: processes get this one and those after it.
        spares: processes to have ready for actors to come, whenever one has been taken.
        ready: those that are there to begin with.
    """

    def __init__(self, process: Process, seed: int, spares: int, ready: Sequence[Made]) -> None:
        super().__init__(process, process, seed)
        self._local = ProcessActors(process, process, workers=1)
        self._started.set()
        self._directory = Directory(process)
        self._seeds = itertools.count(seed + len(ready) + 1)
        self._made: dict[Ref, Any] = {}
        self._answers: dict[bytes, tuple[bytes, list[Any]]] = {}
        self._one_less = threading.Condition()
        self._inboxes: dict[int, Inbox] = {}
        self._spares = spares
        self._ready = list(ready)

    @ray.method(concurrency_group="spawn")
    def spawn(self, token: bytes, name: str, stopped: list[str], *rest: Any) -> tuple[bytes, list[Any]]:
        """Put an actor into a process of its own; answered with its ref, or with an error.

        Calls may be repeated: with the same token, the same answer comes again.
        """
        if token not in self._answers:
            self._answers[token] = answered(lambda: self._spawn(name, stopped, *rest))
        return self._answers[token]

    def _spawn(self, name: str, stopped: list[str], *rest: Any) -> RayRef:
        there = self._directory.actors(name, seconds=AT_ONCE).get(name)
        if there is not None and there.process.name not in stopped:
            raise NameTaken(f"an actor named {name!r} is alive; stop it first, or choose another name")
        process, handle = self._ready.pop(0) if self._ready else self._new()
        transport.add(process, handle)
        while len(self._ready) < self._spares:  # for the next one: it takes seconds
            self._ready.append(self._new())
        insist(partial(handle.start.remote, name, *rest))
        ref = RayRef(name, process)
        self._made[ref] = handle
        transport.watch(ref, self)
        return ref

    def _new(self) -> Made:
        return new_process(self._process, next(self._seeds))

    @ray.method(concurrency_group="control")
    def made(self) -> tuple[bytes, list[Any]]:
        """Answer with the refs of all actors that were made here and live."""
        return pack(tuple(self._made))

    def tell(self, message: object) -> None:
        """Take the news that an actor has ended that was made here; end its process when all its watchers know."""
        assert isinstance(message, Ended)
        with self._one_less:
            handle = self._made.pop(message.actor, None)
            self._one_less.notify()
        if handle is not None:
            after(LINGER, partial(kill, handle))

    @ray.method(concurrency_group="spawn")
    def open_inbox(self, name: str) -> tuple[bytes, list[Any]]:
        """Open an inbox; answered with its ref."""
        inbox = self._local.inbox(name)
        assert isinstance(inbox.ref, RayRef)
        self._inboxes[inbox.ref.number] = inbox
        return pack(inbox.ref)

    @ray.method(concurrency_group="take")
    def take(self, number: int, timeout: float) -> tuple[bytes, list[Any]] | None:
        """Take a message out of an inbox; None if nothing came."""
        try:
            return pack(self._inboxes[number].take(timeout=timeout))
        except NoAnswer:
            return None

    @ray.method(concurrency_group="spawn")
    def close_inbox(self, number: int) -> None:
        """Close an inbox."""
        self._inboxes.pop(number).close()

    @ray.method(concurrency_group="spawn")
    def end_all(self) -> None:
        """End all actors that were made here."""
        for ref in list(self._made):
            self._directory.stop(ref)
        with self._one_less:
            self._one_less.wait_for(lambda: not self._made, ACTORS_GRACE)
