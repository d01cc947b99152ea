"""Finds, spawns, watches and stops the actors of a network, in whichever processes they live.

Each place in a network has a spawner (`akkordeon.engines.ray.spawner`), which knows the actors that it has made; Ray
knows the spawners by their names. So there is no list of actors to keep up to date, or to lose.
"""

import os
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError

from akkordeon.actor import Actors, Make, Ref
from akkordeon.engines.ray.calls import answer, answers
from akkordeon.engines.ray.transport import Process, RayRef, result, transport
from akkordeon.engines.ray.wire import pack, unpack
from akkordeon.errors import ActorFailed, ActorNotFound

SPAWNER = "spawner "
"""Prefix of the names of spawners; the place follows, then "@" and when it was made."""

ANSWER = 5.0
"""Seconds that spawners have to list their actors."""

LOOK_LIMIT = 2.0
"""Seconds that processes have to describe what they are doing."""


def spawners(space: str) -> dict[str, Process]:
    """Return the spawners of a network by their places; of two with the same place, the later one."""
    names = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True) if each["namespace"] == space]
    found = sorted((name for name in names if name.startswith(SPAWNER)), key=lambda name: name.rpartition("@")[2])
    return {_place(name): Process(space, name) for name in found}


def _place(name: str) -> str:
    return name.removeprefix(SPAWNER).rpartition("@")[0]


class Directory(Actors):
    """The actors of a network.

    Args:
        spawner: of this process's place: it makes processes for actors that are spawned from here.
    """

    loses_messages = True

    def __init__(self, spawner: Process) -> None:
        self._spawner = spawner

    def actors(self, wanted: str = "", seconds: float = ANSWER) -> dict[str, RayRef]:
        """Return the living actors of the network by their names, except those that share their spawner's process.

        Args:
            wanted: the name of the only one that is of interest.
            seconds: that spawners have to answer; one that is just starting has made no actor yet.
        """

        def enough(came: dict[Process, Any]) -> bool:
            return bool(wanted) and any(ref.name == wanted for made in came.values() for ref in unpack(*made))

        methods = {process: transport.methods(process) for process in spawners(self._spawner.space).values()}
        asked = {process: each.handle.made.remote for process, each in methods.items() if each is not None}
        refs = [ref for made in answers(asked, seconds, enough).values() for ref in unpack(*made)]
        stopped = transport.stopped()
        return {ref.name: ref for ref in refs if ref.process not in stopped}

    def handles(self) -> dict[str, Any]:
        """Return Ray's handles of the processes that the actors of the network live in, by the actors' names."""
        methods = {name: transport.methods(ref.process) for name, ref in self.actors().items()}
        return {name: each.handle for name, each in methods.items() if each is not None}

    def spawn(
        self, name: str, make: Make, *, computations: int = 1, blocking: bool = False, place: str | None = None
    ) -> Ref:
        """Start an actor in a process of its own, at this place or another one."""
        spawner = self._spawner if place is None else self._at(place, name)
        if (methods := transport.methods(spawner)) is None:
            raise ActorFailed(f"cannot spawn {name}: {spawner.name} has ended")
        data, buffers = pack(make)
        # This process sees an actor as ended from when it stopped it; the spawner may not know yet.
        stopped = [process.name for process in transport.stopped()]
        rest = computations, blocking, data, *buffers
        call = partial(methods.handle.spawn.remote, os.urandom(8), name, stopped, *rest)
        ref: Ref = result(answer(call, f"cannot spawn {name}: {spawner.name}"))
        return ref

    def _at(self, place: str, name: str) -> Process:
        there = spawners(self._spawner.space)
        if place not in there:
            raise ActorNotFound(f"{name} cannot be put on {place!r}; there are: {', '.join(there) or 'none'}")
        return there[place]

    def find(self, name: str) -> Ref:
        """Return the living actor of that name."""
        there = self.actors(name)
        if name not in there:
            raise ActorNotFound(f"no actor named {name!r}; there are: {', '.join(there) or 'none'}")
        return there[name]

    def watch(self, ref: Ref, watcher: Ref) -> None:
        """Tell `watcher` of the end of an actor."""
        assert isinstance(ref, RayRef)
        transport.watch(ref, watcher)

    def stop(self, ref: Ref) -> None:
        """End an actor, in whichever process it lives."""
        assert isinstance(ref, RayRef)
        transport.stop(ref)

    def look(self) -> str:
        """Describe what waits in each process, and what its workers do."""
        asked = {handle.look.remote(): name for name, handle in self.handles().items()}
        came, silent = ray.wait(list(asked), num_returns=len(asked), timeout=LOOK_LIMIT) if asked else ([], [])
        lines = [f"{asked[each]} does not answer within {LOOK_LIMIT:g} s" for each in silent]
        for each in came:
            with suppress(RayError):  # it has ended in the meantime
                lines.append(ray.get(each))
        return "\n".join(lines)

    def places(self) -> tuple[str, ...]:
        """Return this place, and then the others of the network."""
        own = _place(self._spawner.name)
        return own, *(place for place in spawners(self._spawner.space) if place != own)
