"""`akkordeon network`: opens a network that others join, shows its reports, and closes it."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from akkordeon.cli import values
from akkordeon.cli.options import REACH, TRAIN, AccessOptions, TrainingOptions
from akkordeon.cli.output import Output
from akkordeon.cli.recipe import explaining_missing_modules, find, load
from akkordeon.cli.remote import follow
from akkordeon.engines.ray.cluster import Address, check_port
from akkordeon.engines.ray.cluster.home import claimed
from akkordeon.errors import AkkordeonError, WiringError

if TYPE_CHECKING:
    from akkordeon.network.network import Network

LOCAL = "127.0.0.1:25520"
"""Default address, which only this machine can reach."""

CLOSING = 2.0
"""Seconds that a network of the same name has to end, if it is about to."""


def _place(text: str) -> tuple[str, str]:
    gate, sign, host = text.partition("=")
    if not (sign and gate and host):
        raise typer.BadParameter(f"invalid placement {text!r}: expected GATE=HOST, such as stem=A")
    return gate, values.name(host)


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(values.name(each.strip()) for each in text.split(","))


class NetworkCommand(TrainingOptions, AccessOptions):
    """Open a network that others can join.

    \b
    Examples:
      akkordeon network mnist
      akkordeon network mnist --address 192.0.2.7:25520 --save runs/mnist
      akkordeon network mnist --place stem=A --place head=B    see akkordeon host

    Shows the reports of all sentinels. Ctrl-C here, or akkordeon close, lets them leave and
    saves. Beyond this machine it needs a token: see akkordeon token.
    """  # noqa: D301

    place: Annotated[
        list[Any] | None, TRAIN("GATE=HOST", "Put a gate on a host, by name; repeat for more.", parser=_place)
    ] = None
    hosts: Annotated[Any, TRAIN("A,B", "Spread all other gates over hosts.", parser=_hosts)] = None
    wait: Annotated[float, TRAIN("S", "Seconds to wait for these hosts.", min=0.0)] = 20.0
    address: Annotated[
        Any, REACH("HOST:PORT", "Address of this machine for others, with a free port.", parser=values.address)
    ] = LOCAL
    name: Annotated[str, REACH("NAME", "Name of the network.", parser=values.name)] = values.NETWORK

    def run(self, output: Output) -> None:
        """Open the network, and hold it until it is asked to close."""
        find(self.recipe)
        with self._reserved():
            self._hold(output)

    @contextmanager
    def _reserved(self) -> Iterator[None]:
        """Check that a network can open here, and keep this user's other terminals from opening it meanwhile.

        Raises:
            WiringError: Ray is missing, or a network of this name is open there.
            TokenUnusable: there is no token, or it cannot be used.
            NodeFailed: something else listens at the address.
        """
        self.check_installed()
        if self.ray_address is not None:
            yield
            return
        where: Address = self.address
        self.token_for(where)
        check_port(where)
        with claimed(f"{where.host}_{where.port}_{self.name}", CLOSING) as free:
            if not free:
                raise WiringError(
                    f"a network of this name is open at {where}: join it with `akkordeon sentinel` or `connect`, close "
                    "it with `akkordeon close`, or choose another --name or --address"
                )
            yield

    def _hold(self, output: Output) -> None:
        recipe = load(self.recipe, self.settings, lr=self.lr)
        from akkordeon.conductor.placement import Placement  # noqa: PLC0415
        from akkordeon.engines import Ray  # noqa: PLC0415 - imports torch
        from akkordeon.gate.chain import check_chain  # noqa: PLC0415
        from akkordeon.network.launching import launch  # noqa: PLC0415

        gates = self.gates(recipe)
        check_chain(gates)
        placement = Placement(dict(self.place or ()), self.hosts or (), wait=self.wait)
        placement.check(gates)
        engine = Ray(str(self.address), name=self.name, **self.access)
        output.interrupts.renew()
        recipe.ship(engine)
        with explaining_missing_modules(f"the network of {self.recipe}"):
            network = launch(gates, engine=engine, placement=placement, **self.start)
        with network:
            self._announce(output)
            with output.winding_down("closing", network.end):
                with self.saving(network, output):
                    output.reports(follow(network, network.cause, output))
                self._close(network, output)

    def _announce(self, output: Output) -> None:
        """Say that the network is open, and how to join it."""
        where = str(values.Where(self.address, self.name))
        rest = shlex.join([self.recipe, *self._common(), "--network", where])
        lines = [f"akkordeon sentinel train {rest}", f"akkordeon sentinel validate {rest} --every 20"]
        output.event("open", address=str(self.address), name=self.name, join=lines)
        output.say(f"the network is open at {where}; Ctrl-C closes it. Join it from other terminals or machines:")
        for line in lines:
            output.say(f"  {line}")
        if not (self.address.is_loopback or self.tls or self.ray_address):
            output.warn(
                "warning: traffic is not encrypted: anyone who can listen between the machines can read it and the "
                "token, and with the token run code on them; use --tls (see akkordeon tls --help) on untrusted networks"
            )

    def _common(self) -> list[str]:
        """Return the options that a joining process must have in common with the network."""
        settings = [part for key, value in self.settings or () for part in ("-o", f"{key}={value}")]
        access = {"--token": self.token, "--tls": self.tls, "--ray-address": self.ray_address}
        given = [part for key, value in access.items() if value is not None for part in (key, str(value))]
        return [*settings, *given, *(["--insecure"] if self.insecure else [])]

    def _close(self, network: "Network", output: Output) -> None:
        """Let all sentinels leave, and save, where that was asked for."""
        actions: list[Callable[[], None]] = [partial(network.detach, name) for name in network.attached()]
        actions.append(lambda: output.reports(network.watch()))
        for action in actions:
            try:
                action()
            except AkkordeonError as error:  # the rest must be done all the same
                output.warn(f"warning: {error}")
        if self.save is not None:
            output.saved(network.save(self.save))
        output.event("closed")
