"""The engine on Ray, as users know it. Imports Ray when it is used, since that reads its settings when imported."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from akkordeon.engines.ray.cluster import Address, Node, Tls, check_cluster, own_address, token_path
from akkordeon.errors import NodeFailed

if TYPE_CHECKING:
    from akkordeon.engines.ray.driver import Driver

READ_ONCE = ("RAY_AUTH_MODE", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_USE_TLS")
"""What Ray does not look at again once it was imported."""


class Ray:
    """Actors in processes of their own, on any machine of a Ray cluster.

    Made in a process, it begins a cluster at an address of this machine, or takes part in the one that is there. Actors
    spawned from here live on this machine, unless placed elsewhere; they end with this process.

    Args:
        address: "HOST:PORT" at which others find the network; None is a free port that only this machine can reach.
        join: take part in what runs there, which must be there, on this or another machine.
        name: of the network. Several may share an address.
        mine: address of this machine, by which others reach it; None is the one on the way to the network.
        place: what this machine is called in the network, for `spawn(place=...)`; None is a name that no other has.
        token: file of the token that all machines of the network have; see `akkordeon token`.
        tls: folder of certificates; see `akkordeon tls`.
        insecure: do without a token beyond this machine.
        ray_address: a Ray cluster of your own; nothing is started or stopped in it, and all of the above but `name` and
            `place` is its own matter.
        spares: processes that are kept ready for actors to come, so that an actor that begins anew need not wait the
            seconds that it takes to import torch.
        first: processes for the first actors, begun at once: a network needs one for each gate, and one more.

    Raises:
        NodeFailed: Ray is missing, the address is taken, or Ray does not start.
        TokenUnusable: there is no token, or it cannot be used.
        Unreachable: there is no network that can be used.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        join: bool = False,
        name: str = "network",
        place: str | None = None,
        ray_address: str | None = None,
        spares: int = 1,
        first: int = 2,
        **share: Any,
    ) -> None:
        self.name = name
        self._theirs = ray_address is not None
        if ray_address is not None:
            check_cluster(ray_address)
        self._node = None if self._theirs else _node(address, join=join, **share)
        self.address = ray_address or str(self._node.address if self._node else "")
        self._place = place or f"terminal {os.urandom(4).hex()}"
        try:
            self._terminal = self._connect(spares, first)
        except BaseException:
            if self._node is not None:
                self._node.close()
            raise
        terminal = self._terminal
        self.spawn, self.find, self.watch, self.stop = terminal.spawn, terminal.find, terminal.watch, terminal.stop
        self.inbox, self.look, self.places = terminal.inbox, terminal.look, terminal.places
        if place is not None:
            assert self.here is not None  # others are to find it

    computations = 1

    @property
    def here(self) -> str | None:
        """The place of what is spawned from here."""
        assert self._terminal.warden is not None
        return self._place

    def where(self) -> dict[str, str]:
        """Return number and machine of the process that each actor of the network lives in, by its name."""
        return self._terminal.where()

    def _connect(self, spares: int, first: int) -> "Driver":
        settings: dict[str, Any] = {}
        if self._node is not None:
            _check_early(self._node.environment)
            os.environ.update(self._node.environment)
            settings = {"_node_ip_address": self._node.ip, "_temp_dir": str(self._node.temp_dir)}
        os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # it would begin a cluster of its own after the last is closed
        with _signals_kept():
            from akkordeon.engines.ray import connection  # noqa: PLC0415 - imports Ray
            from akkordeon.engines.ray.driver import Driver  # noqa: PLC0415

            connection.enter(self.address, settings, theirs=self._theirs)
        try:
            return Driver(f"akkordeon {self.name}", self._place, spares=spares, first=first)
        except BaseException:
            connection.leave(theirs=self._theirs)
            raise

    def ship(self, module: ModuleType) -> None:
        """Send what a module defines along with whatever uses it, since other machines do not have it."""
        from ray import cloudpickle  # noqa: PLC0415 - imports Ray

        cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]

    def others(self) -> list[str]:
        """Return the names of all networks at this address."""
        from akkordeon.engines.ray import connection  # noqa: PLC0415 - imports Ray

        return [each.removeprefix("akkordeon ") for each in connection.spaces() if each.startswith("akkordeon ")]

    def close(self) -> None:
        """See `akkordeon.actor.Engine.close`. What this process has begun ends with the last that takes part in it."""
        from akkordeon.engines.ray import connection  # noqa: PLC0415 - imports Ray

        if self._terminal.close():
            connection.leave(theirs=self._theirs)
            if self._node is not None:
                self._node.close()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep what this process does at a SIGTERM; Ray would abort it, with a dump of its stack."""
    mine = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if mine is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, mine)


def _node(
    address: str | None,
    *,
    join: bool,
    mine: str | None = None,
    token: Path | str | None = None,
    tls: Path | str | None = None,
    insecure: bool = False,
) -> Node:
    """Take this machine's share in the network at an address."""
    where = _free() if address is None else Address.parse(address)
    if token is None and not insecure and not where.is_loopback:
        token = token_path()
    certificates = None if tls is None else Tls.of(Path(tls), mine or (own_address(where) if join else where.host))
    secrets: dict[str, Any] = {"token": token and Path(token), "tls": certificates, "insecure": insecure}
    return Node.join(where, mine, **secrets) if join else Node.head(where, **secrets)


def _check_early(environment: Mapping[str, str]) -> None:
    """Refuse to go on with a Ray that was imported before with other settings: it would find nobody, for a minute.

    Raises:
        NodeFailed: it was.
    """
    if "ray" in sys.modules and any(os.environ.get(key) != environment[key] for key in READ_ONCE if key in environment):
        raise NodeFailed(
            "Ray was imported before this engine was made, and reads its settings only then: make the engine first, "
            "or import ray later; a process that took part in a network of other settings needs another process"
        )


def _free() -> Address:
    """Return an address of this machine alone that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return Address("127.0.0.1", server.getsockname()[1])
