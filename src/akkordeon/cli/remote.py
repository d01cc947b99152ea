"""Reaches a network that runs in another process: checks that it is there, joins it, and notices its end.

The checks come before torch is imported, which takes seconds.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self

from akkordeon.actor import Engine
from akkordeon.cli.every import Every
from akkordeon.cli.interrupt import leave
from akkordeon.cli.options import ReachOptions
from akkordeon.cli.output import Output
from akkordeon.engines.ray.cluster import Address, Cause, Tls, own_address, probe
from akkordeon.engines.ray.cluster.home import wait_until
from akkordeon.errors import (
    ActorFailed,
    ActorNotFound,
    AkkordeonError,
    NoAnswer,
    TokenUnusable,
    Unreachable,
    WiringError,
)

if TYPE_CHECKING:
    from akkordeon.engines import Ray
    from akkordeon.gate.description import Gate
    from akkordeon.messages.reports import Report
    from akkordeon.network.network import Network

    Gates = list[Gate]
    Prepare = Callable[[Ray], object]

CLOSE = 90.0
"""Seconds that a network has to let its sentinels leave, and to save."""

PROBE = 2.0
"""Seconds between two probes of a network that was joined."""

SILENCE = 10.0
"""Seconds without an answer after which a network is taken to be lost; Ray alone would end this process after 60."""


# Before joining


def check_reach(options: ReachOptions, wait: float = 0.0) -> None:
    """Check that a network can be joined from here.

    Args:
        options: name the network.
        wait: seconds that it has to open.

    Raises:
        WiringError: Ray is missing, or an address does not belong to this machine.
        TokenUnusable: there is no token, or it cannot be used.
        Unreachable: there is no such network, or it refuses this process.
    """
    options.check_installed()
    if options.ray_address is not None:
        return
    address: Address = options.network.address
    _check_name(address)
    options.token_for(address)
    options.check_address()
    wait_until(lambda: _is_there(options), time.monotonic() + wait)
    probe_network(options)


def probe_network(options: ReachOptions) -> None:
    """Ask for an answer from the network.

    Raises:
        Unreachable: there is none, or it comes from something else.
    """
    address: Address = options.network.address
    tls = None if options.tls is None else Tls.of(options.tls, options.address or own_address(address))
    try:
        probe(address, options.token_for(address), tls)
    except Unreachable as error:
        if error.cause != Cause.NO_TOKEN or not address.is_loopback:  # on loopback, Ray reads the token from a file
            raise


def _check_name(address: Address) -> None:
    """Refuse a host name that does not resolve; only the probe has a time limit for that."""
    if address.host.replace(".", "").isdigit():
        return
    try:
        probe(address, None)
    except Unreachable as error:
        if error.cause == Cause.NAME:
            raise


def _is_there(options: ReachOptions) -> bool:
    try:
        probe_network(options)
    except Unreachable as error:
        return error.cause not in (Cause.REFUSED, Cause.SILENT)
    return True


# Once joined


class NetworkWatch:
    """While entered, probes the network; once it does not answer, reports the error and ends this process.

    Nothing gentler would do: whatever waits for Ray then, waits for a minute.

    Args:
        options: name the network.
        report: takes the error.

    Attributes:
        code: the exit code once the network's end is expected; None before.
    """

    def __init__(self, options: ReachOptions, report: Callable[[Exception], None]) -> None:
        self.code: int | None = None
        self._options = options
        self._report = report
        self._answered = time.monotonic()
        self._every = Every(PROBE, self._probe, patience=0.0)

    def __enter__(self) -> Self:
        if self._options.ray_address is None:
            self._every.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._every.stop()

    def _probe(self) -> None:
        try:
            probe_network(self._options)
        except TokenUnusable:
            return  # the file has changed; a connection stays
        except Unreachable as error:
            if error.cause != Cause.REFUSED and time.monotonic() - self._answered < SILENCE:
                return
            if not self._every.over:
                self._end(error)
        self._answered = time.monotonic()

    def _end(self, error: Unreachable) -> None:
        if self.code is None:
            self._report(Unreachable(f"lost the network: {error}", error.cause))
        leave(1 if self.code is None else self.code)


class Remote:
    """A network that was joined.

    Args:
        network: as `connect` returns it.
        options: name it.
        output: shows reports and warnings.
        watch: notices its end.
    """

    def __init__(self, network: "Network", options: ReachOptions, output: Output, watch: NetworkWatch) -> None:
        self.network = network
        self._options = options
        self._output = output
        self._watch = watch

    def watch(self) -> "Iterator[Report]":
        """Yield all reports until the network is closed; show errors of sentinels, and go on.

        Raises:
            AkkordeonError: the network has failed, or is lost.
        """
        yield from follow(self.network, self.cause, self._output)
        self._watch.code = 0
        self._output.event("closed")

    def close(self) -> None:
        """Close the network, and wait for its end.

        Raises:
            NoAnswer: that takes too long.
        """
        self._watch.code = 0
        self.network.end()
        self.await_end()

    def await_end(self) -> None:
        """Wait until a network that is closing has ended.

        Raises:
            NoAnswer: that takes too long.
        """
        if not wait_until(lambda: not is_open(self.network.engine), time.monotonic() + CLOSE):
            raise NoAnswer(f"the network did not close within {CLOSE:g} s")

    def cause(self) -> Exception | None:
        """Return why the network has failed; None if it has not.

        Raises:
            ActorFailed: the network is lost.
        """
        try:
            return self.network.cause()
        except (ActorFailed, NoAnswer):
            self.lost()

    def lost(self) -> NoReturn:
        """Report that the network has ended.

        Raises:
            ActorFailed: always.
        """
        self._watch.code = 1
        if self.network.is_closing:
            raise ActorFailed(f"the network at {self._options.title} is closed")
        raise ActorFailed(
            f"lost the network at {self._options.title}: its process exited; restart it, from its last save with "
            "akkordeon network --resume"
        )


def follow(network: "Network", cause: Callable[[], Exception | None], output: Output) -> "Iterator[Report]":
    """Yield all reports until the network is asked to close; show errors of sentinels, and go on.

    Args:
        network: the network.
        cause: asks why the network has failed; None if it has not.
        output: shows the errors.

    Raises:
        Exception: what made the network fail.
    """
    while not network.is_closing:
        try:
            yield from network.watch(forever=True)
        except AkkordeonError as error:
            if (failure := cause()) is not None:
                raise failure from None
            output.warn(f"warning: {error}")


def is_open(engine: Engine) -> bool:
    """Return whether the engine finds an open network."""
    try:
        engine.find("conductor")
    except (ActorNotFound, WiringError):
        return False
    return True


@contextmanager
def joined(
    options: ReachOptions, output: Output, gates: "Gates | None" = None, prepare: "Prepare | None" = None, **part: Any
) -> Iterator[Remote]:
    """Join a network; sentinels attached from here end with it.

    Args:
        options: name the network.
        output: shows what happens; its interrupts are installed again after Ray has replaced them.
        gates: of the recipe, to be compared.
        prepare: is called with the engine before it looks for the network.
        part: further arguments of the engine, where this machine lends itself to the network.

    Raises:
        AkkordeonError: there is no such network, or this process does not fit.
    """
    from akkordeon.engines import Ray  # noqa: PLC0415 - imports torch
    from akkordeon.network.launching import connect  # noqa: PLC0415 - imports torch

    where = options.where
    at = None if where.address is None else str(where.address)
    part = {"mine": options.address, "spares": 0, "first": 1, **options.access} | part
    engine = Ray(at, join=True, name=where.name, **part)
    output.interrupts.renew()
    try:
        if prepare is not None:
            prepare(engine)
    except BaseException:
        engine.close()
        raise
    with NetworkWatch(options, output.error) as watch, connect(gates=gates, engine=engine) as network:
        yield Remote(network, options, output, watch)
