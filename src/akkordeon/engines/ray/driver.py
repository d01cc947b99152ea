"""A process that takes part in a network on Ray without being an actor: what runs in a terminal."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from akkordeon.actor import Actor, Inbox, Ref
from akkordeon.engines.ray.calls import told
from akkordeon.engines.ray.directory import WARDEN, actors, find, wardens
from akkordeon.engines.ray.process import START, look, made_with, spawn
from akkordeon.engines.ray.spawner import WARDEN_LANES, Made, Spawner, new_host, this_node
from akkordeon.engines.ray.transport import Process, RayRef, post
from akkordeon.engines.ray.wire import unpack
from akkordeon.errors import ActorFailed, NameTaken, NoAnswer

logger = logging.getLogger(__name__)

SLACK = 10.0
"""Seconds that Ray itself may take beyond a time limit of ours."""


class Driver:
    """What the engine on Ray does for the code outside of actors, once this process is connected to Ray.

    Args:
        space: the network's name: nobody sees actors of another one.
        place: a name for where its own actors live, for `spawn(place=...)` of others; it must be unique in the network.
        spares: processes that are kept ready for actors to come.
        first: processes for the first actors, begun at once.

    Raises:
        NameTaken: another process has that place.
    """

    def __init__(self, space: str, place: str, *, spares: int = 1, first: int = 1) -> None:
        if place in wardens(space):
            raise NameTaken(f"the name of {place!r} is taken in this network; choose another one")
        self._space = space
        self._process = Process(space, f"{WARDEN}{place}@{time.time_ns():x}")
        self._numbers = (spares, first)
        self._lock = threading.Lock()
        self._made: Any = None
        self._first: list[Made] = []
        self._closed = False

    @property
    def warden(self) -> Any:
        """The process that makes others for this one, begun when it is first needed: who only asks needs none."""
        with self._lock:
            if self._made is None:
                spares, first = self._numbers
                seed = torch.initial_seed() % 2**32
                warden = made_with(Spawner, WARDEN_LANES).options(
                    name=self._process.name, namespace=self._space, scheduling_strategy=this_node()
                )
                # Kept, since Ray forgets that the warden has them where it loses the answer to its making.
                self._first = [new_host(self._process, seed + number) for number in range(1, first + 1)]
                self._made = warden.remote(self._process, seed, spares, self._first)
                post.know(self._process, self._made)
            return self._made

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
        if self._closed:
            raise RuntimeError(f"cannot spawn {name}: the engine is closed")
        assert self.warden is not None
        ref = spawn(self._process, name, make, computations=computations, blocking=blocking, place=place)
        doors = post.doors(ref.process)
        if doors is not None:
            ray.wait([doors.handle.begun.remote()], timeout=START)  # so that time limits count from when it is there
        return ref

    def find(self, name: str) -> Ref:
        """See `akkordeon.actor.Engine.find`."""
        return find(self._space, name)

    def watch(self, ref: Ref, watcher: Ref) -> None:
        """See `akkordeon.actor.Engine.watch`."""
        assert isinstance(ref, RayRef)
        post.watch(ref, watcher)

    def stop(self, ref: Ref) -> None:
        """See `akkordeon.actor.Engine.stop`."""
        assert isinstance(ref, RayRef)
        post.stop(ref)

    def inbox(self, name: str) -> Inbox:
        """See `akkordeon.actor.Engine.inbox`."""
        ref = unpack(*ray.get(self.warden.open.remote(name)))
        return _Inbox(self.warden, ref)

    def where(self) -> dict[str, str]:
        """Return the number and machine of the process that each actor of the network lives in, by its name."""
        doors = {name: post.doors(ref.process) for name, ref in actors(self._space).items()}
        asked = {name: each.handle.where.remote() for name, each in doors.items() if each is not None}
        return {name: ray.get(answer, timeout=SLACK) for name, answer in asked.items()}

    def look(self) -> str:
        """See `akkordeon.actor.Engine.look`."""
        return look(self._space)

    def places(self) -> tuple[str, ...]:
        """See `akkordeon.actor.Engine.places`."""
        return tuple(wardens(self._space))

    def close(self) -> bool:
        """End all actors that were spawned from here; return False if that has been done before."""
        if self._closed:
            return False
        self._closed = True
        if self._made is None:
            return True
        try:
            ray.get(self._made.end_all.remote(), timeout=SLACK)
        except RayError as error:
            logger.warning("the process that held this terminal's actors has ended before: %s", told(error))
        ray.kill(self._made)
        return True


class _Inbox:
    """A mailbox in the warden's process."""

    def __init__(self, warden: Any, ref: Ref) -> None:
        self.ref = ref
        self._warden = warden

    def take(self, *, timeout: float) -> Any:
        assert isinstance(self.ref, RayRef)
        try:
            came = ray.get(self._warden.take.remote(self.ref.number, timeout), timeout=timeout + SLACK)
        except GetTimeoutError:
            came = None
        except RayActorError as error:
            raise ActorFailed(f"the process that holds {self.ref.name} has ended: {told(error)}") from None
        if came is None:
            raise NoAnswer(f"nothing came to {self.ref.name} within {timeout:g} s")
        return unpack(*came)

    def close(self) -> None:
        assert isinstance(self.ref, RayRef)
        self._warden.shut.options(num_returns=0).remote(self.ref.number)
