"""The engine on Ray, as users know it. Imports Ray when it is used, since Ray reads its settings when imported."""

import logging
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from akkordeon.actor import Ref
from akkordeon.engines.ray.cluster import Access, Address, Node, check_cluster, own_address
from akkordeon.errors import ActorNotFound, NodeFailed, WiringError

logger = logging.getLogger(__name__)

READ_ONCE = ("RAY_AUTH_MODE", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_USE_TLS")
"""Settings that Ray reads when it is imported, and never again."""

SPACE = "akkordeon "
"""Prefix of the names of networks in Ray: a cluster may hold other things."""

OPENING = 30.0
"""Seconds that a network has to open once its machine can be reached: its process imports torch first."""

OPEN_CHECK = 0.3
"""Seconds between two checks whether it has."""


class Ray:
    """Actors in processes of their own, on any machine of a Ray cluster.

    Made in a process, it starts a cluster at an address of this machine, or joins the one that is there. Actors spawned
    from here live on this machine, unless placed elsewhere; they end with this process.

    Args:
        address: "HOST:PORT" at which others find the network; None is a free port that only this machine can reach.
        join: join the network that runs there, on this or another machine, and start none.
        name: of the network. Several may share an address.
        mine: address of this machine, by which others reach it; None is the one on the way to the network.
        place: what this machine is called in the network, for `spawn(place=...)`; None is a name that no other has.
        access: how the network is protected.
        ray_address: a Ray cluster of your own; nothing is started or stopped in it, and of the other arguments only
            `name`, `place`, `spares` and `first` apply.
        spares: processes that are kept ready for actors to come, so that an actor that restarts need not wait the
            seconds that it takes to import torch.
        first: processes for the first actors, started at once: a network needs one for each gate, and one more.
        token: deprecated, as are `tls` and `insecure`: use `access`.
        tls: deprecated.
        insecure: deprecated.

    Raises:
        NodeFailed: Ray is missing, the address is taken, or Ray does not start.
        TokenUnusable: there is no token, or it cannot be used.
        Unreachable: there is no network that can be used.
        NameTaken: another process has that place.
        WiringError: this process takes part in another cluster.
    """

    computations = 1
    loses_messages = True

    def __init__(
        self,
        address: str | None = None,
        *,
        join: bool = False,
        name: str = "network",
        mine: str | None = None,
        place: str | None = None,
        access: Access | None = None,
        ray_address: str | None = None,
        spares: int = 1,
        first: int = 2,
        token: Path | str | None = None,
        tls: Path | str | None = None,
        insecure: bool = False,
    ) -> None:
        if token is not None or tls is not None or insecure:
            text = "Ray(token=..., tls=..., insecure=...) is deprecated: use Ray(access=Access(token, tls, insecure))"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            access = Access(token, tls, insecure)
        self.name = name
        self._is_open = not join
        with ExitStack() as resources:
            if ray_address is not None:
                check_cluster(ray_address)
                self.address, node = ray_address, None
            else:
                node = _node(address, mine, access or Access(), join=join)
                resources.callback(node.close)
                self.address = str(node.address)
            self._connect(node, resources)
            from akkordeon.engines.ray.driver import Driver  # noqa: PLC0415 - imports Ray

            driver_place = place or f"terminal {os.urandom(4).hex()}"
            driver = self._driver = Driver(SPACE + self.name, driver_place, spares=spares, first=first)
            resources.callback(driver.close)
            if place is not None:  # others may look for it
                driver.begin()
            self._resources = resources.pop_all()
        self.spawn, self.watch, self.stop, self.inbox = driver.spawn, driver.watch, driver.stop, driver.inbox
        self.look, self.places = driver.look, driver.places

    def _connect(self, node: Node | None, resources: ExitStack) -> None:
        settings: dict[str, Any] = {}
        if node is not None:
            _check_early(node.environment)
            os.environ.update(node.environment)
            settings = {"_node_ip_address": node.ip, "_temp_dir": str(node.temp_dir)}
        # Otherwise any call of Ray after the last engine is closed would start a cluster of Ray's own.
        os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
        with _signals_kept():
            from akkordeon.engines.ray.connection import Connection  # noqa: PLC0415 - imports Ray

            resources.callback(Connection(self.address, settings, theirs=node is None).close)

    def find(self, name: str) -> Ref:
        """Return the living actor of that name; in a network that was joined, wait at first for it to open.

        Raises:
            ActorNotFound: there is none; lists those that exist.
            WiringError: the network does not open; lists the other networks at this address.
        """
        if self._is_open or self._driver.has_spawned:
            return self._driver.find(name)
        deadline, reported = time.monotonic() + OPENING, False
        while True:
            with suppress(ActorNotFound):
                ref = self._driver.find(name)
                self._is_open = True
                return ref
            self._check_opening(late=time.monotonic() > deadline)
            if not reported:
                logger.warning("waiting for network %r at %s to open", self.name, self.address)
                reported = True
            threading.Event().wait(OPEN_CHECK)

    def _check_opening(self, *, late: bool) -> None:
        names = self.others()
        others = [each for each in names if each != self.name]
        if late or (others and self.name not in names):
            there = f"there are: {', '.join(others)}" if others else "nor any other; it may have been closed"
            raise WiringError(f"there is no network {self.name!r} at {self.address}; {there}")

    def now(self) -> float:
        """Return seconds on the clock of this machine."""
        return time.monotonic()

    def where(self) -> dict[str, str]:
        """Return the number and machine of the process that each actor of the network lives in, by its name."""
        return self._driver.where()

    def ship(self, module: ModuleType) -> None:
        """Send the definitions of a module along with all that uses it, for machines that do not have the module."""
        from ray import cloudpickle  # noqa: PLC0415 - imports Ray

        cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]

    def others(self) -> list[str]:
        """Return the names of all networks at this address."""
        from akkordeon.engines.ray import connection  # noqa: PLC0415 - imports Ray

        return [each.removeprefix(SPACE) for each in connection.spaces() if each.startswith(SPACE)]

    def close(self) -> None:
        """End all actors that were spawned from here. The cluster ends with the last process that takes part in it."""
        self._resources.close()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep what this process does at a SIGTERM; Ray would abort it, with a dump of its stack."""
    mine = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if mine is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, mine)


def _node(address: str | None, mine: str | None, access: Access, *, join: bool) -> Node:
    """Take this machine's share in the network at an address."""
    where = _free() if address is None else Address.parse(address)
    token = access.token_for(where)
    tls = None if access.tls is None else access.tls_of(mine or (own_address(where) if join else where.host))
    return Node.open(where, mine, join=join, token=token, tls=tls, insecure=access.insecure)


def _check_early(environment: Mapping[str, str]) -> None:
    """Refuse to go on with a Ray that was imported before, with other settings: it would fail after a minute.

    Raises:
        NodeFailed: it was.
    """
    if "ray" in sys.modules and any(os.environ.get(key) != environment[key] for key in READ_ONCE if key in environment):
        raise NodeFailed(
            "Ray was imported before this engine was made, and reads its settings only then: make the engine first, "
            "or import ray later; a process that took part in a network of other settings needs another process"
        )


def _free() -> Address:
    """Return an address that only this machine can reach, with a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return Address("127.0.0.1", server.getsockname()[1])
