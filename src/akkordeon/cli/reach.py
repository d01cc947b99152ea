"""Whether a network can be reached: found out before torch, which takes seconds, is imported."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from akkordeon.cli.reaching import AccessOptions, ReachOptions
from akkordeon.cli.terminal_options import NetworkOptions
from akkordeon.engines.ray.cluster import (
    Address,
    Cause,
    Tls,
    check_cluster,
    check_port,
    check_ray,
    own_address,
    probe,
    read_token,
    token_path,
)
from akkordeon.engines.ray.cluster.home import claimed, wait_until
from akkordeon.errors import NodeFailed, Unreachable, WiringError

CLOSING = 2.0
"""Seconds that a network of the same name has to end, if it is about to."""


def check_installed() -> None:
    """Make sure that Ray is here.

    Raises:
        WiringError: it is not; says what to install.
    """
    try:
        check_ray()
    except NodeFailed as error:
        raise WiringError(str(error)) from None


@contextmanager
def reserved(options: NetworkOptions) -> Iterator[None]:
    """Make sure that a network can be opened here, and keep this user's other terminals from opening it meanwhile.

    Raises:
        WiringError: Ray is missing, or a network of this name is open there.
        TokenUnusable: there is no token, or it cannot be used.
        NodeFailed: something else listens at the address.
    """
    check_installed()
    if options.ray_address is not None:
        check_cluster(options.ray_address)
        yield
        return
    where: Address = options.address
    check_secrets(options, where)
    check_port(where)
    with claimed(f"{where.host}_{where.port}_{options.name}", CLOSING) as free:
        if not free:
            raise WiringError(
                f"a network of this name is open at {where}: join it with `akkordeon sentinel` or `connect`, close it "
                "with `akkordeon close`, or give this one another name or address"
            )
        yield


def check_reach(options: ReachOptions, wait: float = 0.0) -> None:
    """Make sure that there is a network that may be joined from here.

    Args:
        options: which.
        wait: seconds that it has to come.

    Raises:
        WiringError: Ray is missing, or an address is not of this machine.
        TokenUnusable: there is no token, or it cannot be used.
        Unreachable: there is no such network, or it does not let us in.
    """
    check_installed()
    if options.ray_address is not None:
        check_cluster(options.ray_address)
        return
    address = _address(options)
    if not address.host.replace(".", "").isdigit():
        _check_name(address)
    check_secrets(options, address)
    mine = own_address(address)
    if options.address is not None and not Address(options.address, address.port).is_own:
        raise WiringError(
            f"--address {options.address}: that is no address of this machine; {mine} is, towards {address}"
        )
    wait_until(lambda: _is_there(options), time.monotonic() + wait)
    look(options)


def check_secrets(options: AccessOptions, address: Address) -> None:
    """Make sure that there is a token that can be read, where one is needed.

    Raises:
        TokenUnusable: there is none.
    """
    if not (address.is_loopback or options.insecure):
        read_token(options.token or token_path())


def _check_name(address: Address) -> None:
    """Refuse a host that nobody knows; the probe alone has a time limit for that."""
    try:
        probe(address, None)
    except Unreachable as error:
        if error.cause == Cause.NAME:
            raise


def _is_there(options: ReachOptions) -> bool:
    try:
        look(options)
    except Unreachable as error:
        return error.cause not in (Cause.REFUSED, Cause.SILENT)
    return True


def look(options: ReachOptions) -> None:
    """Ask who is at the address.

    Raises:
        Unreachable: nobody, or somebody else.
    """
    address = _address(options)
    token = None if address.is_loopback or options.insecure else read_token(options.token or token_path())
    tls = None if options.tls is None else Tls.of(options.tls, options.address or own_address(address))
    try:
        probe(address, token, tls)
    except Unreachable as error:
        if error.cause != Cause.NO_TOKEN or not address.is_loopback:  # that of loopback is in a file that Ray reads
            raise


def _address(options: ReachOptions) -> Address:
    address = options.where.address
    assert address is not None  # only a Ray cluster of the user's own has none
    return address
