"""Who lives where in a network: the processes that make others know, and Ray knows them."""

from typing import Any

import ray

from akkordeon.engines.ray.calls import answers
from akkordeon.engines.ray.transport import Process, RayRef, post
from akkordeon.engines.ray.wire import unpack
from akkordeon.errors import ActorNotFound

WARDEN = "warden "
"""What the names of wardens begin with."""

ANSWER = 5.0
"""Seconds that wardens have to say whom they have made."""


def wardens(space: str) -> dict[str, Process]:
    """Return the processes of a network that make others, by the names of their places; of one name, the latest."""
    names = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True) if each["namespace"] == space]
    found = sorted((name for name in names if name.startswith(WARDEN)), key=lambda name: name.rpartition("@")[2])
    return {name.removeprefix(WARDEN).rpartition("@")[0]: Process(space, name) for name in found}


def actors(space: str, wanted: str = "", seconds: float = ANSWER) -> dict[str, RayRef]:
    """Return the living actors of a network by their names, but for those that live beside who spawned them.

    Args:
        space: the network's.
        wanted: the name of the only one that is of interest.
        seconds: that wardens have for an answer; one that has just begun has made nobody.
    """

    def enough(came: dict[Process, Any]) -> bool:
        return bool(wanted) and any(ref.name == wanted for made in came.values() for ref in unpack(*made))

    doors = {process: post.doors(process) for process in wardens(space).values()}
    asked = {process: each.handle.who.remote for process, each in doors.items() if each is not None}
    refs = [ref for made in answers(asked, seconds, enough).values() for ref in unpack(*made)]
    stopped = post.stopped()
    return {ref.name: ref for ref in refs if ref.process not in stopped}


def find(space: str, name: str) -> RayRef:
    """Return the living actor of that name.

    Raises:
        ActorNotFound: there is none; lists those that exist.
    """
    there = actors(space, name)
    if name not in there:
        raise ActorNotFound(f"no actor named {name!r}; there are: {', '.join(there) or 'none'}")
    return there[name]
