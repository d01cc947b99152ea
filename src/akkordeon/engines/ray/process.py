"""A process of the engine on Ray: one Ray actor, in which an actor lives, with the blocking ones that it spawns.

Mailboxes, turns, computations and timers are those of `akkordeon.engines.local`.
"""

import itertools
import os
import threading
from functools import partial
from typing import Any

import ray
import torch

from akkordeon.actor import Actor, Context, Make, Ref
from akkordeon.engines.context import ActorContext
from akkordeon.engines.local import LocalActors
from akkordeon.engines.pool import Runnable
from akkordeon.engines.ray.directory import Directory
from akkordeon.engines.ray.transport import Process, RayRef, answered, transport
from akkordeon.engines.ray.wire import pack, unpack
from akkordeon.errors import ActorFailed

START_LIMIT = 60.0
"""Seconds that a process may take from its own start to that of its first actor."""

WARM_UP_AFTER = 0.5
"""Seconds without an actor after which a process warms up for one to come."""

PROCESS_GROUPS = {"start": 1, "control": 1, "ask": 2, "watch": 32}
"""Ray's threads beside the one that messages come in on, by what they are for (its concurrency groups).

Urgent messages come one by one, so that they keep their order; each process that watches an actor here holds a thread.
A start may have to be repeated while other calls already wait for it, so it has a thread of its own.
"""


class ProcessActors(LocalActors):
    """The actors of this process, on `workers` threads.

    Args:
        process: where they are.
        spawner: makes processes for the actors that they spawn.
        workers: size of the pool.
    """

    def __init__(self, process: Process, spawner: Process, workers: int) -> None:
        super().__init__(workers, patience=0.5)
        self.by_number: dict[int, Runnable] = {}  # those that have ended, too: refs may still come for them
        self._process = process
        self._neighbours = _Neighbours(self, spawner)
        self._numbers = itertools.count()
        self.ends: dict[int, threading.Event] = {}
        transport.process, transport.here = process, self

    def runnable(self, ref: Ref) -> Runnable:
        """Return the actor that an address is of."""
        assert isinstance(ref, RayRef)
        return self.by_number[ref.number]

    def context(self, runnable: Runnable) -> Context:
        """Return what an actor may do, with an address that is valid in all processes."""
        number = next(self._numbers)
        self.by_number[number] = runnable
        self.ends[number] = threading.Event()
        return ActorContext(self._neighbours, self, runnable, RayRef(runnable.name, self._process, number))

    def end(self, runnable: Runnable, reason: BaseException | None) -> None:
        """End an actor, and let those know that wait for it."""
        super().end(runnable, reason)
        me = runnable.context.me
        assert isinstance(me, RayRef)
        self.ends[me.number].set()


class _Neighbours(Directory):
    """The actors of a network, as the actors of one process see them."""

    def __init__(self, local: ProcessActors, spawner: Process) -> None:
        super().__init__(spawner)
        self._local = local

    def spawn(
        self, name: str, make: Make, *, computations: int = 1, blocking: bool = False, place: str | None = None
    ) -> Ref:
        """Start an actor: in this process if it may block, else in one of its own."""
        if blocking:  # it shares its spawner's process, so that its data need not travel
            return self._local.spawn(name, make, blocking=True)
        return super().spawn(name, make, computations=computations, place=place)


class ActorProcess:
    """What Ray makes an actor of. No method that it is sent a message by raises: errors end an actor here.

    Args:
        process: this one.
        spawner: the process that made it.
        seed: of its random generator.
    """

    def __init__(self, process: Process, spawner: Process, seed: int) -> None:
        torch.manual_seed(seed)
        self._process = process
        self._spawner = spawner
        self._started = threading.Event()
        self._local: ProcessActors
        threading.Thread(target=self._warm_up, daemon=True).start()

    def _warm_up(self) -> None:
        """Use the time while there is nothing to do: torch imports half of itself with the first optimizer."""
        if not self._started.wait(WARM_UP_AFTER):
            torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)

    @ray.method(concurrency_group="start")
    def start(self, name: str, computations: int, blocking: bool, *make: Any) -> None:  # noqa: FBT001
        """Start the first actor, unless that has been done. All other calls wait for it."""
        if self._started.is_set():
            return
        self._local = ProcessActors(self._process, self._spawner, computations)
        self._local.spawn(name, partial(_make, *make), computations=computations, blocking=blocking)
        self._started.set()

    @property
    def local(self) -> ProcessActors:
        """The actors of this process."""
        if not self._started.wait(START_LIMIT):
            raise ActorFailed(f"{self._process.name} was given no actor to start within {START_LIMIT:g} s")
        return self._local

    def deliver(self, number: int, data: bytes, *buffers: Any) -> None:
        """Take a message in."""
        runnable = self.local.by_number[number]
        try:
            message = unpack(data, buffers)
        except BaseException as error:  # noqa: BLE001 - a message that cannot be read must not be lost in silence
            self.local.end(runnable, error)
        else:
            self.local.deliver(runnable, message)

    @ray.method(concurrency_group="control")
    def deliver_urgent(self, number: int, data: bytes, *buffers: Any) -> None:
        """Take an urgent message in."""
        self.deliver(number, data, *buffers)

    @ray.method(concurrency_group="control")
    def end(self, number: int) -> None:
        """End an actor."""
        self.local.end(self.local.by_number[number], None)

    @ray.method(concurrency_group="control")
    def look(self) -> str:
        """Describe what waits here, and what the workers do."""
        return f"process {_where()}:\n{self.local.look()}"

    @ray.method(concurrency_group="control")
    def where(self) -> str:
        """Answer with the process's number and its machine."""
        return _where()

    @ray.method(concurrency_group="ask")
    def await_start(self) -> bool:
        """Return when there is an actor."""
        return self._started.wait(START_LIMIT)

    @ray.method(concurrency_group="ask")
    def ask(self, number: int, timeout: float, data: bytes, *buffers: Any) -> tuple[bytes, list[Any]]:
        """Answer a question."""
        return answered(lambda: self.local.ask(self.local.by_number[number], unpack(data, buffers), timeout))

    @ray.method(concurrency_group="watch")
    def await_end(self, number: int, seconds: float) -> tuple[bytes, list[Any]] | None:
        """Return the reason when an actor has ended; None if it has not, after a while."""
        if not self.local.ends[number].wait(seconds):
            return None
        return pack(self.local.by_number[number].reason)


def _where() -> str:
    return f"{os.getpid()} on {ray.util.get_node_ip_address()}"  # type: ignore[no-untyped-call]


def _make(data: bytes, *buffers: Any) -> Actor:
    make: Make = unpack(data, buffers)
    return make()
