"""The process that makes all others of one terminal, and owns them: what it leaves behind when it ends, Ray ends.

So actors outlive the actor that spawned them, and none outlives the terminal. It holds mailboxes for the outside, too.
"""

import itertools
import threading
import time
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from akkordeon.actor import Ended, Inbox
from akkordeon.engines.ray.calls import after, insist, kill
from akkordeon.engines.ray.host import LANES, Host, Local, made_with
from akkordeon.engines.ray.post import Process, RayRef, actors, answered, post
from akkordeon.engines.ray.wire import pack
from akkordeon.errors import NameTaken, NoAnswer

__all__ = ["WARDEN_LANES", "Warden"]

WARDEN_LANES = {**LANES, "spawn": 1, "take": 4}

MOURNING = 1.0
"""Seconds until a process whose first actor has ended is ended, too."""

GRACE = 1.0
"""Seconds that actors have to end when all is over; then Ray ends their processes, with the one that owns them."""


class Warden(Host):
    """Spawns, and keeps mailboxes.

    Args:
        process: this one.
        seed: each process draws from one of its own.
        spares: processes to have ready for actors to come.
    """

    def __init__(self, process: Process, seed: int, spares: int) -> None:
        super().__init__(process, process, seed)
        self._local = Local(process, process, workers=1)
        self._started.set()
        self._seed = seed
        self._numbers = itertools.count(1)
        self._made: dict[RayRef, Any] = {}
        self._answers: dict[bytes, tuple[bytes, list[Any]]] = {}
        self._buried = threading.Condition()
        self._inboxes: dict[int, Inbox] = {}
        self._node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._spares = [self._new() for _ in range(spares)]

    def _new(self) -> tuple[Process, Any]:
        """Make a process for an actor to come."""
        process = Process(self._process.space, f"process@{time.time_ns():x}")
        host = made_with(Host, LANES).options(
            name=process.name, namespace=process.space, scheduling_strategy=self._node
        )
        handle = host.remote(process, self._process, self._seed + next(self._numbers))
        post.know(process, handle)
        return process, handle

    @ray.method(concurrency_group="spawn")
    def spawn(self, token: bytes, name: str, stopped: list[str], *rest: Any) -> tuple[bytes, list[Any]]:
        """Put an actor into a process of its own; answered with its ref, or with what is raised.

        Asked again with the same token, it only answers again.
        """
        if token not in self._answers:
            self._answers[token] = answered(lambda: self._spawn(name, stopped, *rest))
        return self._answers[token]

    def _spawn(self, name: str, stopped: list[str], *rest: Any) -> RayRef:
        there = actors(self._process.space).get(name)
        if there is not None and there.process.name not in stopped:
            raise NameTaken(f"an actor named {name!r} is alive; stop it first, or choose another name")
        self._spares.append(self._new())  # to be ready for the next: it takes seconds
        process, handle = self._spares.pop(0)
        insist(partial(handle.start.remote, name, *rest))
        ref = RayRef(name, process)
        self._made[ref] = handle
        post.watch(ref, _Undertaker(self))
        return ref

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

    def __init__(self, warden: Warden) -> None:
        self._warden = warden

    def tell(self, message: object) -> None:
        """See `akkordeon.actor.Ref.tell`."""
        assert isinstance(message, Ended)
        assert isinstance(message.actor, RayRef)
        self._warden.bury(message.actor)
