"""What all commands share that take part in a network of another terminal."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from akkordeon.actor import Engine
from akkordeon.cli.console import Output
from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.lookout import Lookout
from akkordeon.cli.reaching import ReachOptions
from akkordeon.engines import Ray
from akkordeon.engines.ray.cluster.home import wait_until
from akkordeon.errors import ActorFailed, ActorNotFound, AkkordeonError, NoAnswer, WiringError
from akkordeon.gate.description import Gate
from akkordeon.network.launching import connect
from akkordeon.network.network import Network

if TYPE_CHECKING:
    from akkordeon.messages.reports import Report

CLOSED = 90.0
"""Seconds that a network has to let its sentinels leave, and to save."""


class Joined:
    """A network that was joined, and what may become of it.

    Args:
        network: as `connect` returns it.
        options: which.
        output: what the command shows.
        lookout: looks after the network's machine.
    """

    def __init__(self, network: Network, options: ReachOptions, output: Output, lookout: Lookout) -> None:
        self.network = network
        self._options = options
        self._output = output
        self._lookout = lookout

    def watch(self) -> "Iterator[Report]":
        """Yield all reports until the network is closed; what fails is shown, and it goes on.

        Raises:
            AkkordeonError: the network has failed, or is gone.
        """
        while not self.network.is_closing:
            try:
                yield from self.network.watch(forever=True)
            except AkkordeonError as error:
                self.check(error)
                self._output.warn(f"warning: {error}")
        self._lookout.leaving(0)
        self._output.event("closed")

    def leaving(self) -> None:
        """Take no notice of the network's end from now on: it was asked for."""
        self._lookout.leaving(0)

    def await_end(self) -> None:
        """Wait until a network that is being closed is no more.

        Raises:
            NoAnswer: that takes too long.
        """
        engine = self.network.engine
        if not wait_until(lambda: not is_open(engine), time.monotonic() + CLOSED):
            raise NoAnswer(f"the network has been asked to close, and has not in {CLOSED:g} s")

    def check(self, error: Exception) -> None:
        """Return if an error is not that the network has failed, or is gone.

        Raises:
            AkkordeonError: it is.
        """
        try:
            cause = self.network.cause()
        except (ActorFailed, NoAnswer):
            self.gone(error)
        if cause is not None:
            raise cause

    def gone(self, error: Exception | None = None) -> NoReturn:
        """Say that there is no network any more.

        Raises:
            ActorFailed: always.
        """
        self._lookout.leaving(1)
        if self.network.is_closing:
            raise ActorFailed(f"the network at {self._options.told} is closed") from error
        raise ActorFailed(
            f"the network at {self._options.told} is gone: the terminal that held it has ended; begin it anew with "
            "akkordeon network --resume, where it was saved"
        ) from error


def is_open(engine: Engine) -> bool:
    """Whether there is a network of this name."""
    try:
        engine.find("conductor")
    except (ActorNotFound, WiringError):
        return False
    return True


@contextmanager
def joined(
    options: ReachOptions,
    output: Output,
    interrupts: Interrupts,
    gates: Sequence[Gate] | None = None,
    prepare: Callable[[Ray], None] | None = None,
    place: str | None = None,
) -> Iterator[Joined]:
    """Join a network; what was attached from here ends with it.

    Args:
        options: which.
        output: what the command shows.
        interrupts: taken again after Ray has taken them.
        gates: of the recipe, to be compared.
        prepare: is called with the engine before the network is looked for.
        place: what this machine is called in the network, where that is up to the user.

    Raises:
        AkkordeonError: there is no such network, or this process does not fit.
    """
    where = options.where
    engine = Ray(
        None if where.address is None else str(where.address),
        join=True,
        name=where.name,
        mine=options.address,
        place=place,
        spares=0 if place is None else 1,
        first=1,
        **options.access,
    )
    interrupts.renew()
    try:
        if prepare is not None:
            prepare(engine)
    except BaseException:
        engine.close()
        raise
    with Lookout(options, output.error) as lookout, connect(gates=gates, engine=engine) as network:
        yield Joined(network, options, output, lookout)


@contextmanager
def lacking(who: str) -> Iterator[None]:
    """Say what to do where another machine lacks a module.

    Args:
        who: what uses it.

    Raises:
        WiringError: it does.
    """
    try:
        yield
    except (ImportError, AkkordeonError) as error:
        if (name := _missing(error)) is None:
            raise
        raise WiringError(
            f"{who} needs the module {name!r}, which another machine of the network cannot import: install it there, "
            "in the same version"
        ) from error


def _missing(error: BaseException | None) -> str | None:
    while error is not None:
        with suppress(IndexError):
            return str(error).split("No module named '")[1].split("'")[0]
        error = error.__cause__
    return None
