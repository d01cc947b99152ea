"""Finds out what listens at an address, and why it cannot be used, within seconds.

Ray itself takes 20 to 60 seconds to fail, and does not say why.
"""

import socket
import ssl
import time
from concurrent.futures import Future
from enum import StrEnum
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from akkordeon.engines.ray.cluster.address import Address
from akkordeon.engines.ray.cluster.tls import Tls
from akkordeon.engines.ray.cluster.tokens import Token
from akkordeon.errors import Unreachable

if TYPE_CHECKING:
    from akkordeon.engines.ray.cluster.rpc import Reply, Rpc

ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"

VERSION = 2
"""Field of its reply."""

OK = 0
UNAUTHENTICATED = 16


class Cause(StrEnum):
    """Why a network cannot be reached."""

    NAME = "name"
    REFUSED = "refused"
    SILENT = "silent"
    FOREIGN = "foreign"
    TLS = "tls"
    NO_TOKEN = "no token"  # noqa: S105 - what is missing, and no token
    WRONG_TOKEN = "wrong token"  # noqa: S105 - what is wrong, and no token
    OPEN = "open"


class Answer(NamedTuple):
    """What Ray replied: its version, and whether it wants a token."""

    version: str
    wants_token: bool


def probe(address: Address, token: Token | None, tls: Tls | None = None, timeout: float = 3.0) -> Answer:
    """Ask what listens at an address. The token is sent only if it is asked for.

    Args:
        address: where.
        token: to send.
        tls: certificates, for an encrypted connection.
        timeout: seconds for everything.

    Raises:
        Unreachable: nothing listens there, or no network that can be used; `cause` says which.
    """
    from akkordeon.engines.ray.cluster import rpc  # noqa: PLC0415 - of an extra

    deadline = time.monotonic() + timeout
    try:
        with _connect(address, tls, deadline) as stream:
            return _ask(address, token, rpc.Rpc(stream, str(address), deadline), timeout)
    except rpc.Foreign as error:
        _say_foreign(address, f"{error}" + (", but this side uses no TLS" if "TLS" in str(error) else ""))
    except Unreachable:
        raise
    except OSError as error:
        _say_why(address, error, timeout)


def check_cluster(text: str) -> None:
    """Make sure that something listens at the address of a user's own cluster: Ray would wait for it for minutes.

    Args:
        text: "HOST:PORT"; anything else, such as "auto", is left to Ray.

    Raises:
        Unreachable: nothing does.
    """
    try:
        address = Address.parse(text)
    except ValueError:
        return
    try:
        probe(address, None)
    except Unreachable as error:
        if error.cause == Cause.REFUSED:
            said = f"no Ray cluster listens at {text}: check the address, and that `ray status` shows it"
            raise Unreachable(said, Cause.REFUSED) from error
        if error.cause in (Cause.NAME, Cause.SILENT):
            raise


def _ask(address: Address, token: Token | None, connection: "Rpc", timeout: float) -> Answer:
    try:
        reply = connection.call(ALIVE, {})
        wants_token = reply.status == UNAUTHENTICATED
        if wants_token:
            if token is None:
                text = f"the network at {address} needs a token: copy the file from a machine that has it"
                raise Unreachable(text, Cause.NO_TOKEN)
            reply = connection.call(ALIVE, {"authorization": token.bearer})
        return Answer(_version(address, reply), wants_token)
    except TimeoutError as error:  # of a socket that is connected
        text = f"no reply from {address} within {timeout:g} s: not an akkordeon network, or it is hung"
        raise Unreachable(f"{text}. Check host and port", Cause.FOREIGN) from error


def _connect(address: Address, tls: Tls | None, deadline: float) -> socket.socket:
    host = _resolve(address, deadline)
    stream = socket.create_connection((host, address.port), max(deadline - time.monotonic(), 0.001))
    if tls is None:
        return stream
    try:
        return tls.context().wrap_socket(stream, server_hostname=address.host)
    except BaseException:
        stream.close()
        raise


def _resolve(address: Address, deadline: float) -> str:
    """Return the IPv4 address; resolves a name in a thread of its own, since that takes no time limit."""
    found: Future[Address] = Future()

    def resolve() -> None:
        try:
            found.set_result(address.resolved())
        except Unreachable as error:
            found.set_exception(error)

    Thread(target=resolve, name="akkordeon resolve", daemon=True).start()
    try:
        return found.result(max(deadline - time.monotonic(), 0.001)).host
    except TimeoutError:
        text = f"cannot resolve host {address.host!r}: check the name, or give its IPv4 address"
        raise Unreachable(text, Cause.NAME) from None


def _version(address: Address, reply: "Reply") -> str:
    from akkordeon.engines.ray.cluster import rpc  # noqa: PLC0415 - of an extra

    if reply.status == UNAUTHENTICATED:
        text = f"wrong token for the network at {address}: copy the file from a machine of that network"
        raise Unreachable(text, Cause.WRONG_TOKEN)
    if reply.status != OK:
        _say_foreign(address, f"its reply is {reply.text or 'no'!r}, status {reply.status}")
    version = rpc.field(reply.message, VERSION)
    if version is None:
        _say_foreign(address, "its reply has no version")
    return version.decode("ascii", "replace")


def _say_foreign(address: Address, what: str) -> NoReturn:
    text = f"{address} is not an akkordeon network ({what}): check host and port"
    raise Unreachable(text, Cause.TLS if "TLS" in what else Cause.FOREIGN)


def _say_why(address: Address, error: OSError, timeout: float) -> NoReturn:
    match error:
        case ConnectionRefusedError():
            text = f"nothing listens at {address}: is the network running? Check host and port"
            cause = Cause.REFUSED
        case ssl.SSLError():
            text = f"TLS with {address} failed ({error.reason or error}): does it use TLS, and the same authority?"
            cause = Cause.TLS
        case TimeoutError():
            text = f"no answer from {address} within {timeout:g} s: is the machine on, and no firewall in between?"
            cause = Cause.SILENT
        case ConnectionResetError() | BrokenPipeError():
            _say_foreign(address, "it closed the connection, as an encrypted network does, too: see --tls")
        case _:
            text = f"no route to {address} ({error.strerror or error}): check address and network"
            cause = Cause.SILENT
    raise Unreachable(text, cause) from error
