"""The process that makes all others of one terminal, and owns them: what it leaves behind when it ends, Ray ends.

So actors outlive the actor that spawned them, and none outlives the terminal. It holds mailboxes for the outside, too.
"""

import itertools
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from akkordeon.actor import Ended, Inbox
from akkordeon.engines.ray.calls import after, insist, kill
from akkordeon.engines.ray.directory import actors
from akkordeon.engines.ray.process import LANES, Host, Local, made_with
from akkordeon.engines.ray.transport import Process, RayRef, answered, post
from akkordeon.engines.ray.wire import pack
from akkordeon.errors import NameTaken, NoAnswer

WARDEN_LANES = {**LANES, "spawn": 1, "take": 4}

MOURNING = 1.0
"""Seconds until a process whose first actor has ended is ended, too."""

AT_ONCE = 0.5
"""Seconds that others have to say that they have made an actor of a name; one that has just begun has made none."""

GRACE = 1.0
"""Seconds that actors have to end when all is over; then Ray ends their processes, with the one that owns them."""


Made = tuple[Process, Any]
"""A process, and Ray's handle of it."""


def new_host(warden: Process, seed: int) -> Made:
    """Make a process on this machine for an actor to come."""
    process = Process(warden.space, f"process@{time.time_ns():x}")
    host = made_with(Host, LANES).options(name=process.name, namespace=process.space, scheduling_strategy=this_node())
    return process, host.remote(process, warden, seed)


def this_node() -> NodeAffinitySchedulingStrategy:
    """Say that a process is to be on this machine."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


class Spawner(Host):
    """Spawns, and keeps mailboxes.

    Args:
        process: this one.
        seed: each process draws from one of its own.
        spares: processes to have ready for actors to come, whenever one has been taken.
        ready: those that are there to begin with.
    """

    def __init__(self, process: Process, seed: int, spares: int, ready: Sequence[Made]) -> None:
        super().__init__(process, process, seed)
        self._local = Local(process, process, workers=1)
        self._started.set()
        self._seeds = itertools.count(seed + len(ready) + 1)
        self._made: dict[RayRef, Any] = {}
        self._answers: dict[bytes, tuple[bytes, list[Any]]] = {}
        self._buried = threading.Condition()
        self._inboxes: dict[int, Inbox] = {}
        self._spares = spares
        self._ready = list(ready)

    @ray.method(concurrency_group="spawn")
    def spawn(self, token: bytes, name: str, stopped: list[str], *rest: Any) -> tuple[bytes, list[Any]]:
        """Put an actor into a process of its own; answered with its ref, or with what is raised.

        Asked again with the same token, it only answers again.
        """
        if token not in self._answers:
            self._answers[token] = answered(lambda: self._spawn(name, stopped, *rest))
        return self._answers[token]

    def _spawn(self, name: str, stopped: list[str], *rest: Any) -> RayRef:
        there = actors(self._process.space, name, seconds=AT_ONCE).get(name)
        if there is not None and there.process.name not in stopped:
            raise NameTaken(f"an actor named {name!r} is alive; stop it first, or choose another name")
        process, handle = self._ready.pop(0) if self._ready else self._new()
        post.know(process, handle)
        while len(self._ready) < self._spares:  # for the next one: it takes seconds
            self._ready.append(self._new())
        insist(partial(handle.start.remote, name, *rest))
        ref = RayRef(name, process)
        self._made[ref] = handle
        post.watch(ref, _Undertaker(self))
        return ref

    def _new(self) -> Made:
        return new_host(self._process, next(self._seeds))

    @ray.method(concurrency_group="control")
    def who(self) -> tuple[bytes, list[Any]]:
        """Answer with the refs of all that were made here and live."""
        return pack(tuple(self._made))

    def bury(self, ref: RayRef) -> None:
        """End a process whose first actor has ended, when all who watched it have been told."""
        with self._buried:
            handle = self._made.pop(ref, None)
            self._buried.notify()
        if handle is not None:
            after(MOURNING, partial(kill, handle))

    @ray.method(concurrency_group="spawn")
    def open(self, name: str) -> tuple[bytes, list[Any]]:
        """Open a mailbox; answered with its ref."""
        inbox = self._local.inbox(name)
        assert isinstance(inbox.ref, RayRef)
        self._inboxes[inbox.ref.number] = inbox
        return pack(inbox.ref)

    @ray.method(concurrency_group="take")
    def take(self, number: int, timeout: float) -> tuple[bytes, list[Any]] | None:
        """Take a message out of a mailbox; None if nothing came."""
        try:
            return pack(self._inboxes[number].take(timeout=timeout))
        except NoAnswer:
            return None

    @ray.method(concurrency_group="spawn")
    def shut(self, number: int) -> None:
        """Close a mailbox."""
        self._inboxes.pop(number).close()

    @ray.method(concurrency_group="spawn")
    def end_all(self) -> None:
        """End all that were made here."""
        for ref in list(self._made):
            post.stop(ref)
        with self._buried:
            self._buried.wait_for(lambda: not self._made, GRACE)


class _Undertaker:
    """Told of the end of an actor, ends its process."""

    def __init__(self, warden: Spawner) -> None:
        self._warden = warden

    def tell(self, message: object) -> None:
        """See `akkordeon.actor.Ref.tell`."""
        assert isinstance(message, Ended)
        assert isinstance(message.actor, RayRef)
        self._warden.bury(message.actor)
