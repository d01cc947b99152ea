"""This process's connection to a Ray cluster. A process has one, which several engines may share."""

import logging
import threading
from collections.abc import Mapping
from typing import Any

import ray
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

from akkordeon.engines.ray.transport import post
from akkordeon.errors import NodeFailed, WiringError

_lock = threading.Lock()
_users = 0
_where = ""


def enter(where: str, settings: Mapping[str, Any], *, theirs: bool = False) -> None:
    """Connect, or share the connection there is.

    Args:
        where: address of the cluster.
        settings: for `ray.init`.
        theirs: the cluster is the user's own, and he may have connected to it already.

    Raises:
        WiringError: this process is connected to another one.
        NodeFailed: Ray does not let it in; says why.
    """
    global _users, _where
    with _lock:
        if _users and where != _where:
            raise WiringError(f"this process takes part in a network at {_where}; close that before joining {where}")
        if not _users and ray.is_initialized() and not theirs:
            raise WiringError("this process has called ray.init itself; to use that cluster, say Ray(ray_address=...)")
        if not ray.is_initialized():
            AuthenticationTokenLoader.instance().reset_cache()  # it would show every cluster the first one's token
            try:
                ray.init(where, logging_level=logging.ERROR, log_to_driver=False, **settings)
            except (RuntimeError, ConnectionError, ValueError) as error:
                raise NodeFailed(f"Ray at {where} does not let this process in: {error}") from error
        _users, _where = _users + 1, where


def leave(*, theirs: bool = False) -> None:
    """Give the connection up; the last one to do so ends it, unless it is the user's own."""
    global _users  # noqa: PLW0603
    with _lock:
        _users -= 1
        if _users == 0:
            post.forget_all()
            if not theirs:
                ray.shutdown()


def spaces() -> list[str]:
    """Return the namespaces of all networks in the cluster."""
    return sorted({each["namespace"] for each in ray.util.list_named_actors(all_namespaces=True)})
