"""What is at an address that is no network: each case is told from the others, and in time."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from akkordeon.engines.ray.cluster import Address, Cause, Token, probe
from akkordeon.engines.ray.cluster.rpc import Foreign, field
from akkordeon.errors import Unreachable

TOKEN = Token("0123456789abcdef")

SETTINGS = bytes.fromhex("000000040000000000")  # an empty frame, with which HTTP/2 begins


@contextmanager
def server(answer: bytes | None) -> Iterator[tuple[Address, list[bytes]]]:
    """Something that answers whatever comes with the same bytes; with nothing, if None; and what it was sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        got: list[bytes] = []

        def serve() -> None:
            stream, _ = listener.accept()
            with stream:
                got.append(stream.recv(65536))
                if answer is not None:
                    stream.sendall(answer)
                    stream.shutdown(socket.SHUT_WR)
                while data := stream.recv(65536):
                    got.append(data)

        thread = Thread(target=serve)
        thread.start()
        yield Address(*listener.getsockname()), got
        thread.join()


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())
    with pytest.raises(Unreachable, match=f"nothing listens at {address}: is the network running") as caught:
        probe(address, TOKEN)
    assert caught.value.cause == Cause.REFUSED


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP/2"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak HTTP/2"),
        (b"-ERR unknown command\r\n", "does not speak HTTP/2"),
        (b"", "closed the connection"),
        (SETTINGS, "closed the connection"),
        (SETTINGS + bytes.fromhex("0000080700000000000000000000000000"), "ended the connection"),
        (SETTINGS + bytes.fromhex("0000040300000000010000000d"), "refused the call"),
        (SETTINGS + bytes.fromhex("00000101050000000188"), "HTTP/2, but not gRPC"),
    ],
)
def test_something_else_listens(answer: bytes, text: str) -> None:
    with server(answer) as (address, got), pytest.raises(Unreachable, match=text) as caught:
        probe(address, TOKEN)
    assert caught.value.cause == Cause.FOREIGN
    assert str(address) in str(caught.value)
    assert b"0123456789abcdef" not in b"".join(got)


def test_a_server_with_tls_is_said_to_have_it() -> None:
    with (
        server(bytes.fromhex("15030100020246")) as (address, _),
        pytest.raises(Unreachable, match="speaks TLS") as caught,
    ):
        probe(address, TOKEN)
    assert caught.value.cause == Cause.TLS


def test_a_silent_server_is_given_up_in_time() -> None:
    start = time.monotonic()
    with server(None) as (address, _), pytest.raises(Unreachable, match=r"no reply from .* within 0\.2 s") as caught:
        probe(address, TOKEN, timeout=0.2)
    assert caught.value.cause == Cause.FOREIGN
    assert time.monotonic() - start < 10


def test_an_unknown_host_name() -> None:
    with pytest.raises(Unreachable, match=r"no-such-host\.invalid") as caught:
        probe(Address("no-such-host.invalid", 25520), TOKEN)
    assert caught.value.cause == Cause.NAME


def test_a_field_is_found_among_others() -> None:
    message = bytes.fromhex("0a00 10 9601 1d 01020304 21 0102030405060708 1206 322e36302e30 2001")
    assert field(message, 2) == b"2.60.0"
    assert field(message, 1) == b""
    assert field(message, 9) is None


def test_a_truncated_message_is_not_an_answer() -> None:
    with pytest.raises(Foreign, match="truncated"):
        field(bytes.fromhex("12ff"), 2)
