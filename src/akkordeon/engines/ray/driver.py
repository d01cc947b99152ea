"""A program's part in a network on Ray: it spawns actors and opens inboxes, but is no Ray actor (Ray's "driver")."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from akkordeon.actor import Inbox, Make, Ref
from akkordeon.engines.ray.calls import why_ended
from akkordeon.engines.ray.directory import SPAWNER, Directory, spawners
from akkordeon.engines.ray.process import START_LIMIT
from akkordeon.engines.ray.spawner import SPAWNER_GROUPS, Made, Spawner, as_ray_actor, new_process
from akkordeon.engines.ray.transport import Process, RayRef, transport
from akkordeon.engines.ray.wire import unpack
from akkordeon.errors import ActorFailed, AkkordeonError, NameTaken, NoAnswer

logger = logging.getLogger(__name__)

SLACK = 10.0
"""Seconds that Ray itself may take beyond a time limit of ours."""

HAND_OVER = 1.0
"""Seconds that a thread waits for a message before it looks whether it is still wanted."""


class Driver(Directory):
    """What the engine on Ray does once this process is connected to Ray.

    Args:
        space: the network's name: actors of other networks are out of reach.
        place: a name for where its own actors live, unique in the network.
        spares: processes that are kept ready for actors to come.
        first: processes for the first actors, begun at once.

    Raises:
        NameTaken: another process has that place.
    """

    def __init__(self, space: str, place: str, *, spares: int, first: int) -> None:
        if place in spawners(space):
            raise NameTaken(f"the name of {place!r} is taken in this network; choose another one")
        super().__init__(Process(space, f"{SPAWNER}{place}@{time.time_ns():x}"))
        self.has_spawned = False
        self._spares, self._num_first = spares, first
        self._lock = threading.Lock()
        self._handle: Any = None
        self._first: list[Made] = []
        self._closed = False

    def begin(self) -> Any:
        """Start the spawner of this place, unless that has been done; return Ray's handle of it.

        Not at once, since a program that only asks or watches needs none.
        """
        with self._lock:
            if self._handle is None:
                seed = torch.initial_seed() % 2**32
                spawner = as_ray_actor(Spawner, SPAWNER_GROUPS, self._spawner)
                # Kept, since Ray forgets that the spawner has them where it loses the answer to its making.
                self._first = [new_process(self._spawner, seed + number) for number in range(1, self._num_first + 1)]
                self._handle = spawner.remote(self._spawner, seed, self._spares, self._first)
                transport.add(self._spawner, self._handle)
            return self._handle

    def spawn(
        self, name: str, make: Make, *, computations: int = 1, blocking: bool = False, place: str | None = None
    ) -> Ref:
        """Start an actor, and wait until its process is ready."""
        if self._closed:
            raise RuntimeError(f"cannot spawn {name}: the engine is closed")
        self.begin()
        ref = super().spawn(name, make, computations=computations, blocking=blocking, place=place)
        self.has_spawned = True
        assert isinstance(ref, RayRef)
        if (methods := transport.methods(ref.process)) is not None:
            # Time limits on its messages must count from when it is there, not from when its process starts.
            ray.wait([methods.handle.await_start.remote()], timeout=START_LIMIT)
        return ref

    def places(self) -> tuple[str, ...]:
        """Return this place, which is kept open from now on, and then the others."""
        self.begin()
        return super().places()

    def inbox(self, name: str, then: Callable[[object], None] | None = None) -> Inbox:
        """Open a mailbox for code outside actors, in the spawner's process."""
        spawner = self.begin()
        inbox = _RemoteInbox(spawner, unpack(*ray.get(spawner.open_inbox.remote(name))))
        if then is not None:
            threading.Thread(target=inbox.hand_over, args=(then,), name=f"akkordeon {name}", daemon=True).start()
        return inbox

    def where(self) -> dict[str, str]:
        """Return the number and machine of the process that each actor of the network lives in, by its name."""
        asked = {name: handle.where.remote() for name, handle in self.handles().items()}
        return {name: ray.get(answer, timeout=SLACK) for name, answer in asked.items()}

    def close(self) -> None:
        """End all actors that were spawned from here."""
        self._closed = True
        if self._handle is None:
            return
        try:
            ray.get(self._handle.end_all.remote(), timeout=SLACK)
        except RayError as error:
            logger.warning("the process that held this program's actors has ended before: %s", why_ended(error))
        ray.kill(self._handle)


class _RemoteInbox:
    """An inbox in the spawner's process."""

    def __init__(self, spawner: Any, ref: RayRef) -> None:
        self.ref = ref
        self._spawner = spawner
        self._closed = False

    def hand_over(self, then: Callable[[object], None]) -> None:
        """Take all messages, until the inbox is closed or its process has ended."""
        with suppress(AkkordeonError, RayError):
            while not self._closed:
                with suppress(NoAnswer):
                    then(self.take(timeout=HAND_OVER))

    def take(self, *, timeout: float) -> Any:
        try:
            came = ray.get(self._spawner.take.remote(self.ref.number, timeout), timeout=timeout + SLACK)
        except GetTimeoutError:
            came = None
        except RayActorError as error:
            raise ActorFailed(f"the process that holds {self.ref.name} has ended: {why_ended(error)}") from None
        if came is None:
            raise NoAnswer(f"nothing came to {self.ref.name} within {timeout:g} s")
        return unpack(*came)

    def close(self) -> None:
        self._closed = True
        self._spawner.close_inbox.options(num_returns=0).remote(self.ref.number)
