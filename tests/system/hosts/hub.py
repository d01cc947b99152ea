"""The bridge that all hosts are plugged into, in a network of its own."""

import subprocess
from collections.abc import Sequence

from tests.system.hosts.namespaces import Namespaces
from tests.system.hosts.needs import program

__all__ = ["Hub"]

INTERFACE = "eth0"
"""What a host calls its way to the others."""


class Hub:
    """A bridge with a port per host, called as the host is."""

    def __init__(self) -> None:
        self._namespaces = Namespaces.of_a_network()
        self._configure(self._namespaces.pid, ["link add hub type bridge", "link set hub up"])

    def plug(self, name: str, pid: int, address: str) -> None:
        """Give a host an interface with an address, and a port.

        Args:
            name: the host's.
            pid: of a process there.
            address: with the length of its network's prefix, as in "10.99.0.1/24".
        """
        port = [
            f"link add {name} type veth peer name {INTERFACE} netns {pid}",
            f"link set {name} master hub",
            f"link set {name} up",
        ]
        self._configure(self._namespaces.pid, port)
        interface = [f"address add {address} dev {INTERFACE}", f"link set {INTERFACE} up", "link set lo up"]
        self._configure(pid, interface)

    def unplug(self, name: str) -> None:
        """Take a host's port away, and with it its interface."""
        self._configure(self._namespaces.pid, [f"link delete {name}"])

    def open(self, name: str) -> None:
        """Let a host's port pass everything, again."""
        self._configure(self._namespaces.pid, [f"link set {name} master hub"])

    def shut(self, name: str) -> None:
        """Let a host's port drop everything. Its link stays up, so that nobody is told."""
        self._configure(self._namespaces.pid, [f"link set {name} nomaster"])

    def close(self) -> None:
        """Take it down."""
        self._namespaces.close()

    def _configure(self, pid: int, lines: Sequence[str]) -> None:
        entering = [program("nsenter"), f"--target={pid}", "--net", program("ip"), "-batch", "-"]
        done = subprocess.run(entering, input="\n".join(lines), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(f"the network of the hosts refused one of {lines}: {done.stderr.strip()}")
