"""This process's connection to a Ray cluster. A process has one, which several engines may share."""

import logging
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import ray
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

from akkordeon.engines.ray.transport import transport
from akkordeon.errors import NodeFailed, WiringError


class Connection:
    """A share in the connection to a cluster, which is made with the first and ended with the last.

    Args:
        where: address of the cluster.
        settings: for `ray.init`.
        theirs: the cluster is the user's own, and this process may be connected to it already, and remains so.

    Raises:
        WiringError: this process is connected to another cluster.
        NodeFailed: Ray does not let it in; says why.
    """

    _lock = threading.Lock()
    _open: ClassVar[list["Connection"]] = []

    def __init__(self, where: str, settings: Mapping[str, Any], *, theirs: bool = False) -> None:
        self._where = where
        self._theirs = theirs
        with self._lock:
            if self._open and (other := self._open[0]._where) != where:
                raise WiringError(f"this process takes part in a network at {other}; close that before joining {where}")
            if not self._open and ray.is_initialized() and not theirs:
                text = "this process has called ray.init itself; to use that cluster, say Ray(ray_address=...)"
                raise WiringError(text)
            if not ray.is_initialized():
                AuthenticationTokenLoader.instance().reset_cache()  # else Ray would use the first cluster's token
                try:
                    ray.init(where, logging_level=logging.ERROR, log_to_driver=False, **settings)
                except (RuntimeError, ConnectionError, ValueError) as error:
                    raise NodeFailed(f"Ray at {where} does not let this process in: {error}") from error
            self._open.append(self)

    def close(self) -> None:
        """Give the connection up; the last one to do so ends it, unless the cluster is the user's own."""
        with self._lock:
            self._open.remove(self)
            if not self._open:
                transport.forget_all()
                if not self._theirs:
                    ray.shutdown()


def spaces() -> list[str]:
    """Return the namespaces of all networks in the cluster."""
    return sorted({each["namespace"] for each in ray.util.list_named_actors(all_namespaces=True)})
