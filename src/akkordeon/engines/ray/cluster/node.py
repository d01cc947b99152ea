"""This machine's share of a network, as a Ray node: started if need be, shared by its users, ended with the last."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from akkordeon.engines.ray.cluster.address import LOOPBACK, Address, own_address
from akkordeon.engines.ray.cluster.home import Home, wait_until
from akkordeon.engines.ray.cluster.installed import check_ray
from akkordeon.engines.ray.cluster.probe import Cause, probe
from akkordeon.engines.ray.cluster.settings import Share, command, for_node, for_users
from akkordeon.engines.ray.cluster.tls import Tls
from akkordeon.engines.ray.cluster.tokens import new_token, read_token
from akkordeon.errors import NodeFailed, TokenUnusable, Unreachable

TIME_LIMIT = 60.0
"""Seconds for a start; it takes 3 on an idle machine."""

NUM_LINES = 15
"""Lines of a node's output to show when it did not start."""

TAKEN_BY_OTHERS = {Cause.FOREIGN, Cause.TLS, Cause.NO_TOKEN, Cause.WRONG_TOKEN, Cause.OPEN}
"""Causes that show that something else listens where a network is to be started."""


class Node:
    """A hold on this machine's share of a network; it runs until the last process that holds it closes it or ends.

    Attributes:
        address: of the network.
        ip: by which others reach this machine.
        environment: variables that have to be set before Ray is imported.
        temp_dir: where Ray keeps its files.
    """

    def __init__(self, share: Share, home: Home) -> None:
        self.address = share.network
        self.ip = share.ip
        self.environment: Mapping[str, str] = for_users(share)
        self.temp_dir = home.temp_dir
        self._home: Home | None = home

    @classmethod
    def open(
        cls,
        network: Address,
        mine: str | None = None,
        *,
        join: bool = False,
        token: Path | None = None,
        tls: Tls | None = None,
        insecure: bool = False,
        timeout: float = TIME_LIMIT,
    ) -> Self:
        """Start a network at an address of this machine, or share the one that runs there, if the token fits.

        Args:
            network: where others find it. On loopback, only this user of this machine can, by a token of its own.
            mine: address of this machine, by which the others reach it, if it joins a network on another one; None is
                the one on the way there.
            join: make this machine part of a network that runs, and start none.
            token: file of the token that all machines of the network have.
            tls: certificates; without, the token can be read from the traffic between machines.
            insecure: do without a token: all who can reach the address may run code here.
            timeout: seconds.

        Raises:
            NodeFailed: Ray is missing, the address is taken or not of this machine, or the node does not start.
            TokenUnusable: there is no token, or it cannot be used.
            Unreachable: something listens there that does not answer; or, to join, there is no network that can be
                used, which is raised within seconds.
        """
        check_ray()
        network = _of_ray(network)
        ip = (mine or own_address(network)) if join else network.host
        if join and not Address(ip, network.port).is_own:
            raise NodeFailed(f"{ip} is not an address of this machine: try {own_address(network)}")
        share = _secured(Share(network, ip, token, tls), insecure=insecure)
        try:
            return cls(*_settle(share, timeout, head=not join))
        except Unreachable as error:
            if join or error.cause not in TAKEN_BY_OTHERS:
                raise
            raise _taken(network, error) from error

    def close(self) -> None:
        """Let go of the node. The last process to do so ends it, which takes seconds, in the background."""
        if self._home:
            self._home.leave()
        self._home = None


def check_port(address: Address) -> None:
    """Make sure that nothing but a network listens at an address; takes milliseconds.

    Raises:
        NodeFailed: something else does; names the process.
    """
    try:
        probe(address, None)
    except Unreachable as error:
        if error.cause == Cause.FOREIGN:
            raise _taken(address, error) from error


def _taken(address: Address, error: Unreachable) -> NodeFailed:
    text = f"cannot start a network at {address}: the port is taken{address.by_whom()}: {error}"
    return NodeFailed(f"{text}. Or choose another port")


def _of_ray(address: Address) -> Address:
    address = address.resolved()
    if address.is_loopback and address.host != LOOPBACK:
        raise NodeFailed(f"cannot use {address}: the only loopback address that Ray knows is {LOOPBACK}")
    return address


def _secured(share: Share, *, insecure: bool) -> Share:
    """Return the share with the token that it must use; check that the token can be read."""
    if share.network.is_loopback:
        return replace(share, token=None)  # gets its own, once there is a folder for it
    if share.token is None and not insecure:
        text = f"others can reach a network at {share.network}, and so run code on its machines"
        raise TokenUnusable(f"{text}: give it a token, or make it insecure on purpose")
    if share.token is not None:
        read_token(share.token)
    return share


def _settle(share: Share, timeout: float, *, head: bool) -> tuple[Share, Home]:
    """Return the share with its token, and a hold on the node, which is started unless it runs."""
    deadline = time.monotonic() + timeout
    while True:
        home = Home.enter(share.name, deadline)
        try:
            with suppress(FileNotFoundError), home.starting(deadline):
                share = _local(share, home)
                if _runs(share, home, deadline, head=head):
                    return share, home
        except BaseException:
            home.leave()
            raise
        home.leave()  # the node has just ended: try again


def _local(share: Share, home: Home) -> Share:
    if not share.network.is_loopback:
        return share
    token = home.folder / "token"
    return replace(share, token=token if token.exists() else new_token(token))


def _runs(share: Share, home: Home, deadline: float, *, head: bool) -> bool:
    """Make sure that the node runs; False if it ended meanwhile, so that its folder is no longer in its place."""
    is_there = _answers(share, must=not head)
    if is_there and home.is_ready:
        return True
    if not is_there:
        share.network.check_free()
    with (home.folder / "output").open("a+b") as output:
        keeper = [sys.executable, "-P", "-m", "akkordeon.engines.ray.cluster.keeper", str(home.folder)]
        start = command(share, home.temp_dir, head=not is_there)
        code = subprocess.call(  # noqa: S603 - nothing in it comes from elsewhere
            [*keeper, *start],
            env=for_node(share),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        wait_until(lambda: home.is_ready or not home.is_current, deadline)
        if home.is_current and home.is_ready:
            return _answers(share, must=True)
        if code and not home.is_current:  # another keeper had it, or has just taken it down
            return False
        raise NodeFailed(_why(share, output.fileno(), ended=not home.is_current))


def _answers(share: Share, *, must: bool) -> bool:
    """Return whether there is a network that may be used.

    Args:
        share: of which network.
        must: raise if nothing listens there.
    """
    try:
        answer = probe(share.network, read_token(share.token) if share.token else None, share.tls)
    except Unreachable as error:
        if error.cause == Cause.REFUSED and not must:
            return False
        if error.cause == Cause.WRONG_TOKEN and share.network.is_loopback:
            text = f"the network at {share.network} belongs to another user of this machine: check the port"
            raise Unreachable(text, Cause.WRONG_TOKEN) from error
        raise
    if share.token and not answer.wants_token:
        text = f"the network at {share.network} needs no token, so it is not the one that this token is for"
        raise Unreachable(f"{text}: check the address, or join it as insecure", Cause.OPEN)
    return True


def _why(share: Share, output: int, *, ended: bool) -> str:
    size = os.fstat(output).st_size
    lines = os.pread(output, 16384, max(size - 16384, 0)).decode("utf-8", "replace").splitlines()
    what = "did not start" if ended else "has not started in time"
    last = "\n  ".join(lines[-NUM_LINES:]) or "(nothing)"
    return f"the node of this machine in the network at {share.network} {what}. The last lines of its output:\n  {last}"
