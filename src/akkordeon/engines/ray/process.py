"""A process of the engine on Ray: one Ray actor, in which an actor lives, with the blocking ones that it spawns.

Inside it is the embedded engine on a small scale: mailbox, turns, computations and timers are the same.
"""

import itertools
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from akkordeon.actor import Actor, Ref
from akkordeon.engines.mailbox import Ask
from akkordeon.engines.pool import Runnable
from akkordeon.engines.ray.calls import answer
from akkordeon.engines.ray.directory import actors, find, wardens
from akkordeon.engines.ray.transport import Process, Raised, RayRef, answered, post
from akkordeon.engines.ray.wire import pack, unpack
from akkordeon.engines.threads.engine import Threads
from akkordeon.errors import ActorFailed, ActorNotFound

START = 60.0
"""Seconds that a process may take from when it is there to when its first actor is."""

IDLE = 0.5
"""Seconds without an actor after which a process warms up for one to come."""

LOOK = 2.0
"""Seconds that others have to say what they are doing."""

LANES = {"start": 1, "control": 1, "ask": 2, "watch": 32}
"""Ray's threads beside the one that messages come in on, by what they are for.

Urgent messages come one by one, so that they keep their order; each process that watches one here holds a thread. The
start may have to be said again, when others wait already for what it starts.
"""


class Local(Threads):
    """The actors of this process, on `workers` threads.

    Args:
        process: where they are.
        warden: the process that makes others for them.
        workers: size of the pool.
    """

    def __init__(self, process: Process, warden: Process, workers: int) -> None:
        super().__init__(workers, patience=0.5)
        self.process = process
        self.warden = warden
        self.seats: dict[int, Runnable] = {}
        self._numbers = itertools.count()
        self._ends: dict[int, threading.Event] = {}
        post.settle(process, self)

    def tell(self, ref: RayRef, message: object) -> None:
        """Deliver to one of them."""
        seat = self.seats.get(ref.number)
        if seat is None:
            self.dead_letters += 1
        else:
            self.deliver(seat, message)

    def watch(self, ref: Ref, watcher: Ref) -> None:
        """See `akkordeon.actor.Engine.watch`."""
        assert isinstance(ref, RayRef)
        self.watch_seat(self.seats[ref.number], watcher)

    def stop(self, ref: Ref) -> None:
        """See `akkordeon.actor.Engine.stop`."""
        assert isinstance(ref, RayRef)
        self.end(self.seats[ref.number], None)

    def scope(self, seat: Runnable) -> Any:
        """Give an actor its address, and what it may do."""
        number = next(self._numbers)
        self.seats[number] = seat
        self._ends[number] = threading.Event()
        return Scope(self, seat, RayRef(seat.name, self.process, number))

    def end(self, seat: Runnable, reason: BaseException | None) -> None:
        """End one of them, and tell those that watch."""
        super().end(seat, reason)
        self._ends[seat.context.me.number].set()  # type: ignore[attr-defined]

    def ask(self, number: int, message: object, timeout: float) -> object:
        """Ask one of them."""
        seat, ask = self.seats[number], Ask(message)
        self.deliver(seat, ask)
        return ask.answer.result(timeout)

    def wait(self, number: int, seconds: float) -> bool:
        """Wait until one of them has ended; return whether it has."""
        return self._ends[number].wait(seconds)


class Scope:
    """What one actor may do."""

    def __init__(self, local: Local, seat: Runnable, me: RayRef) -> None:
        self.me: Ref = me
        self.random_lock = local.random_lock
        self.compute = seat.compute
        self.in_order = seat.in_order
        self.watch = post.watch
        self.stop = post.stop
        self.look = partial(look, local.process.space)
        self.now = time.monotonic
        self._local = local

    def tell_later(self, seconds: float, message: object) -> None:
        """See `akkordeon.actor.Context.tell_later`."""
        self._local.later(seconds, self.me, message)

    def places(self) -> tuple[str, ...]:
        """See `akkordeon.actor.Engine.places`."""
        return tuple(wardens(self._local.process.space))

    def find(self, name: str) -> Ref:
        """See `akkordeon.actor.Engine.find`."""
        return find(self._local.process.space, name)

    def spawn(
        self,
        name: str,
        make: Callable[[], Actor],
        *,
        computations: int = 1,
        blocking: bool = False,
        place: str | None = None,
    ) -> Ref:
        """As `Engine.spawn`; one that may block lives beside who spawned it, so that its data stay where they are."""
        if blocking:
            return self._local.spawn(name, make, blocking=True)
        return spawn(self._local.warden, name, make, computations=computations, place=place)


def spawn(
    warden: Process,
    name: str,
    make: Callable[[], Actor],
    *,
    computations: int = 1,
    blocking: bool = False,
    place: str | None = None,
) -> RayRef:
    """Let a warden make a process for an actor.

    Raises:
        NameTaken: an actor of that name is alive.
        ActorNotFound: there is no such place.
        ActorFailed: it has ended, or does so meanwhile.
    """
    if place is not None:
        places = wardens(warden.space)
        if place not in places:
            raise ActorNotFound(f"{name} cannot be put on {place!r}; there are: {', '.join(places) or 'none'}")
        warden = places[place]
    doors = post.doors(warden)
    if doors is None:
        raise ActorFailed(f"cannot spawn {name}: {warden.name} has ended")
    data, buffers = pack(make)
    stopped = [process.name for process in post.stopped()]
    call = partial(doors.handle.spawn.remote, os.urandom(8), name, stopped, computations, blocking, data, *buffers)
    return _made(answer(call, f"cannot spawn {name}: {warden.name}"))


def _made(answer: tuple[bytes, list[Any]]) -> RayRef:
    made = unpack(*answer)
    if isinstance(made, Raised):
        raise made.error
    assert isinstance(made, RayRef)
    return made


def look(space: str) -> str:
    """Ask all processes of a network what waits there; those that do not answer soon are named."""
    asked = {}
    for name, ref in actors(space).items():
        doors = post.doors(ref.process)
        if doors is not None:
            asked[doors.handle.look.remote()] = name
    came, silent = ray.wait(list(asked), num_returns=len(asked), timeout=LOOK) if asked else ([], [])
    lines = [f"{asked[each]} does not answer within {LOOK:g} s" for each in silent]
    for each in came:
        with suppress(RayError):  # it has ended in the meantime
            lines.append(ray.get(each))
    return "\n".join(lines)


class Host:
    """What Ray makes an actor of. Nothing that it is sent can raise: whatever happens ends an actor here.

    Args:
        process: this one.
        warden: who made it.
        seed: of its random generator.
    """

    def __init__(self, process: Process, warden: Process, seed: int) -> None:
        torch.manual_seed(seed)
        self._process = process
        self._warden = warden
        self._started = threading.Event()
        self._local: Local
        threading.Thread(target=self._warm_up, daemon=True).start()

    def _warm_up(self) -> None:
        """Use the time while there is nothing to do: torch imports half of itself with the first optimizer."""
        if not self._started.wait(IDLE):
            torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)

    @ray.method(concurrency_group="start")
    def start(self, name: str, computations: int, blocking: bool, *make: Any) -> None:  # noqa: FBT001
        """Start the first actor, if that has not been done. Until then, whatever else is asked for waits."""
        if self._started.is_set():
            return
        self._local = Local(self._process, self._warden, computations)
        self._local.spawn(name, partial(_make, *make), computations=computations, blocking=blocking)
        self._started.set()

    @property
    def local(self) -> Local:
        """The actors of this process."""
        if not self._started.wait(START):
            raise ActorFailed(f"{self._process.name} was not told what to start within {START:g} s")
        return self._local

    def deliver(self, number: int, data: bytes, *buffers: Any) -> None:
        """Take a message in."""
        seat = self.local.seats[number]
        try:
            message = unpack(data, buffers)
        except BaseException as error:  # noqa: BLE001 - what cannot be read must not be lost in silence
            self.local.end(seat, error)
        else:
            self.local.deliver(seat, message)

    @ray.method(concurrency_group="control")
    def press(self, number: int, data: bytes, *buffers: Any) -> None:
        """Take an urgent message in."""
        self.deliver(number, data, *buffers)

    @ray.method(concurrency_group="control")
    def end(self, number: int) -> None:
        """End an actor."""
        self.local.end(self.local.seats[number], None)

    @ray.method(concurrency_group="control")
    def look(self) -> str:
        """See `akkordeon.actor.Engine.look`."""
        return f"process {_where()}:\n{self.local.look()}"

    @ray.method(concurrency_group="control")
    def where(self) -> str:
        """Answer with the process's number and its machine."""
        return _where()

    @ray.method(concurrency_group="ask")
    def begun(self) -> bool:
        """Come back when there is an actor."""
        return self._started.wait(START)

    @ray.method(concurrency_group="ask")
    def ask(self, number: int, timeout: float, data: bytes, *buffers: Any) -> tuple[bytes, list[Any]]:
        """Answer a question."""
        return answered(lambda: self.local.ask(number, unpack(data, buffers), timeout))

    @ray.method(concurrency_group="watch")
    def gone(self, number: int, seconds: float) -> tuple[bytes, list[Any]] | None:
        """Come back when an actor has ended, with why; or with nothing after a while."""
        if not self.local.wait(number, seconds):
            return None
        return pack(self.local.seats[number].reason)


def made_with(kind: type, lanes: dict[str, int]) -> Any:
    """Return a class as one of Ray's actors. Ray must retry nothing: it would run calls twice."""
    settings: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0, "num_cpus": 0, "concurrency_groups": lanes}
    return ray.remote(**settings)(kind)


def _where() -> str:
    return f"{os.getpid()} on {ray.util.get_node_ip_address()}"  # type: ignore[no-untyped-call]


def _make(data: bytes, *buffers: Any) -> Actor:
    make: Callable[[], Actor] = unpack(data, buffers)
    return make()
