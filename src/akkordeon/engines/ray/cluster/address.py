"""Addresses of networks: parsing, resolving, and checking that a port is free."""

import ipaddress
import re
import socket
from contextlib import suppress
from typing import NamedTuple, Self

from akkordeon.errors import NodeFailed, Unreachable

NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")

LOWEST = 1024
"""The lowest port that Ray accepts."""

LOOPBACK = "127.0.0.1"


class Address(NamedTuple):
    """A host, by IPv4 address or by name, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `HOST:PORT`.

        Raises:
            ValueError: it is not an address; says what is wrong with it.
        """
        host, colon, port = text.strip().rpartition(":")
        if "://" in text or "/" in text:
            raise _invalid(text, "it must have neither '://' nor a path")
        if not colon or not host:
            raise _invalid(text, "host or port is missing")
        if ":" in host:
            raise _invalid(text, "only IPv4 addresses and names can be used")
        if not NAME.fullmatch(host) or (host.replace(".", "").isdigit() and not _is_ipv4(host)):
            raise _invalid(text, f"{host!r} is neither an IPv4 address nor a name")
        if not port.isascii() or not port.isdigit() or not LOWEST <= int(port) <= 65535:
            raise _invalid(text, f"{port!r} is not a port from {LOWEST} to 65535")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def resolved(self) -> Self:
        """Return the same with the IPv4 address of the host; a name may take seconds to resolve.

        Raises:
            Unreachable: the name cannot be resolved.
        """
        try:
            return self._replace(host=socket.gethostbyname(self.host))
        except OSError as error:
            text = f"cannot resolve host {self.host!r} ({error.strerror}): check the name, or give its IPv4 address"
            raise Unreachable(text, "name") from error

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it; a name is resolved for that."""
        return ipaddress.ip_address(self.resolved().host).is_loopback

    @property
    def is_own(self) -> bool:
        """Whether this machine has the host's address; a name is resolved for that."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((self.resolved().host, 0))
            except OSError:
                return False
        return True

    def check_free(self) -> None:
        """Make sure that this machine can listen here.

        Raises:
            NodeFailed: it cannot; says why, and what to do.
        """
        if not self.is_own:
            other = f"{own_address(self)}:{self.port}"
            text = f"a network cannot listen at {self}, not an address of this machine: try {other}, or 127.0.0.1"
            raise NodeFailed(text)
        host = LOOPBACK if self.is_loopback else ""  # beyond loopback, Ray listens on all interfaces
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections do not count
            try:
                probe.bind((host, self.port))
                probe.listen(1)
            except OSError as error:
                text = f"a network cannot listen at {self}: the port is taken{self.by_whom()} ({error.strerror})"
                raise NodeFailed(f"{text}. Choose another port, or end the process that listens there") from error

    def by_whom(self) -> str:
        """Return ' by process ...' if a process that this user can see listens here; '' otherwise."""
        import psutil  # noqa: PLC0415 - of an extra

        with suppress(psutil.Error):
            for each in psutil.net_connections("tcp"):
                if each.status == psutil.CONN_LISTEN and each.laddr.port == self.port and each.pid:
                    return f" by process {each.pid} ({psutil.Process(each.pid).name()})"
        return ""


def own_address(towards: Address) -> str:
    """Return this machine's address on the way to another; sends nothing.

    Raises:
        Unreachable: there is no route to it, or its name cannot be resolved.
    """
    there = towards.resolved()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(there)
        except OSError as error:
            text = f"no route from this machine to {towards} ({error.strerror}): check address and network"
            raise Unreachable(text, "silent") from error
        return str(probe.getsockname()[0])


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _invalid(text: str, reason: str) -> ValueError:
    return ValueError(f"invalid address {text!r}: {reason}. Expected HOST:PORT, such as 192.0.2.7:25520")
