"""The options by which a command finds a network that runs in another terminal, or on another machine."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from akkordeon.cli.options import WHERE, Options, on, refusal
from akkordeon.engines.ray.cluster.access import Access
from akkordeon.engines.ray.cluster.address import Address

NETWORK = "network"
"""What a network is called that was given no name."""


@dataclass(frozen=True, slots=True)
class Where:
    """A network: where it is, and its name there.

    Args:
        address: of the network; None where Ray says where.
        name: of the network.
    """

    address: Address | None
    name: str

    def __str__(self) -> str:
        return f"{self.address or ''}" + ("" if self.name == NETWORK else f"/{self.name}")


def address_of(text: str) -> Address:
    """Return what HOST:PORT means."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def name_of(text: str) -> str:
    """Return a name, as of a network or a host."""
    if not re.fullmatch(r"[\w.-]{1,63}", text):
        raise typer.BadParameter(f"{text!r} is no name: it may have letters, digits, '.', '_' and '-'")
    return text


def _where(text: str) -> Where:
    address, slash, name = text.partition("/")
    return Where(address_of(address), name_of(name) if slash else NETWORK)


def _of_ray(text: str) -> str:
    if "://" in text:
        raise typer.BadParameter(f"{text!r} cannot be used: only processes of a cluster's own machines can take part")
    return text


@dataclass(frozen=True, kw_only=True)
class AccessOptions(Options):
    """What all machines of a network must have in common."""

    token: Annotated[
        Path | None, on(WHERE, metavar="FILE", help="Token of the network (where akkordeon token new puts it).")
    ] = None
    tls: Annotated[Path | None, on(WHERE, metavar="DIR", help="Certificates, of akkordeon tls init: encrypts.")] = None
    insecure: Annotated[bool, on(WHERE, "--insecure", help="Do without a token: let everybody run code here.")] = False
    ray_address: Annotated[
        str | None, on(WHERE, parser=_of_ray, metavar="ADDRESS", help="A Ray cluster of your own, or auto.")
    ] = None

    def check_access(self) -> None:
        """Refuse what cannot be."""
        if self.token is not None and self.insecure:
            raise refusal("--insecure", "a network has a token (--token) or none; leave one of the two out")
        if self.tls is not None and not (self.tls / "ca.crt").is_file():
            raise refusal("--tls", f"there is no file {self.tls / 'ca.crt'}; see akkordeon tls init --help")

    @property
    def access(self) -> dict[str, Any]:
        """These, as settings of the engine."""
        return {"access": Access(self.token, self.tls, self.insecure), "ray_address": self.ray_address}


@dataclass(frozen=True, kw_only=True)
class ReachOptions(AccessOptions):
    """What all commands have that use a network that runs."""

    network: Annotated[
        Any,
        on(
            WHERE,
            parser=_where,
            envvar="AKKORDEON_NETWORK",
            metavar="HOST:PORT[/NAME]",
            help="The network (or in AKKORDEON_NETWORK); /NAME if it was given one.",
        ),
    ] = None
    address: Annotated[
        str | None, on(WHERE, metavar="MY_IP", help="Address by which others reach this machine (found out).")
    ] = None

    def __post_init__(self) -> None:
        self.check_access()
        if self.network is None and self.ray_address is None:
            raise refusal("--network", "say which: --network HOST:PORT, or set AKKORDEON_NETWORK")

    @property
    def where(self) -> Where:
        """Which network."""
        found: Where = self.network or Where(None, NETWORK)
        return found

    @property
    def told(self) -> str:
        """The network, for people."""
        return str(self.where) if self.ray_address is None else f"{self.ray_address} ({self.where.name})"
