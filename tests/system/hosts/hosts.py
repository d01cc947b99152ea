"""All hosts of a test."""

import sys
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.system.hosts import needs
from tests.system.hosts.host import Host
from tests.system.hosts.hub import Hub

__all__ = ["Hosts"]

SOURCES = Path(__file__).parents[3]


class Hosts:
    """Hosts that reach one another, and nothing else, while entered.

    They are called host1, host2 and so on, know each other by these names, and have the addresses of their network in
    that order. Two of these at a time, in one process or several, have nothing to do with each other, not even if their
    network is the same.

    Args:
        count: of hosts.
        network: that they are in.
        shared: folders that all hosts have in common with this machine even if they lie in a private one: /tmp,
            /dev/shm or /run. Outside of those, the hosts have all that this machine has.

    Raises:
        HostsUnavailable: on entering, if this machine cannot make hosts; says why, and what to do.
        ValueError: if there are more of them than addresses.
    """

    def __init__(self, count: int, network: str = "10.99.0.0/24", shared: Sequence[Path] = ()) -> None:
        self._network = IPv4Network(network)
        if not 1 <= count <= self._network.num_addresses - 2:
            room = self._network.num_addresses - 2
            raise ValueError(f"network {network} has room for 1 to {room} hosts, not {count}; give a shorter prefix")
        self._names = [f"host{number}" for number in range(1, count + 1)]
        # The sources and the interpreter, wherever they are, can be run on all hosts.
        self._shared = [folder.resolve() for folder in (SOURCES, Path(sys.prefix), Path(sys.base_prefix), *shared)]
        self._hosts: list[Host] = []

    def __enter__(self) -> Self:
        needs.check()
        self._hub = Hub()
        addresses = dict(zip(self._names, self._network.hosts(), strict=False))
        known = "\n".join(["127.0.0.1 localhost", *(f"{address} {name}" for name, address in addresses.items())])
        try:
            for name, address in addresses.items():
                full = f"{address}/{self._network.prefixlen}"
                self._hosts.append(Host(name, full, self._hub, self._shared, known))
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __len__(self) -> int:
        return len(self._hosts)

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts)

    def __getitem__(self, index: int) -> Host:
        return self._hosts[index]

    def _close(self) -> None:
        for host in self._hosts:
            host.kill()
        self._hosts.clear()
        self._hub.close()
