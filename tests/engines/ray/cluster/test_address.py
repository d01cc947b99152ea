"""Addresses as people write them, and as this machine has them."""

import os
import socket
from collections.abc import Iterator

import pytest

from akkordeon.engines.ray.cluster import Address, own_address
from akkordeon.errors import NodeFailed, Unreachable


@pytest.fixture
def listener() -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Address(*server.getsockname())


@pytest.mark.parametrize("text", ["127.0.0.1:25520", "localhost:1024", "gpu-1.lab.example:65535", " 10.0.0.1:8000 "])
def test_an_address_reads_as_it_is_written(text: str) -> None:
    assert str(Address.parse(text)) == text.strip()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "host or port is missing"),
        ("25520", "host or port is missing"),
        (":25520", "host or port is missing"),
        ("host:", "'' is not a port"),
        ("host:80", "'80' is not a port from 1024"),
        ("host:65536", "'65536' is not a port"),
        ("host:-1", "'-1' is not a port"),
        ("host:1_024", "'1_024' is not a port"),
        ("host:٢٥٥٢٠", "is not a port"),
        ("ray://host:25520", "neither '://'"),
        ("host/x:25520", "nor a path"),
        ("[::1]:25520", "only IPv4"),
        ("a b:25520", "neither an IPv4 address nor a name"),
        ("me@host:25520", "neither an IPv4 address nor a name"),
        ("-o:25520", "neither an IPv4 address nor a name"),
        ("10.0.0.256:25520", "neither an IPv4 address nor a name"),
        ("10.0.1:25520", "neither an IPv4 address nor a name"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason_and_the_form(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Address.parse(text)
    assert repr(text) in str(caught.value)
    assert "HOST:PORT" in str(caught.value)


@pytest.mark.parametrize(("host", "is_loopback"), [("localhost", True), ("127.0.0.9", True), ("192.0.2.1", False)])
def test_loopback_is_known_by_name_and_by_address(host: str, is_loopback: bool) -> None:
    assert Address(host, 25520).is_loopback is is_loopback


def test_a_name_that_nobody_knows_is_said_so() -> None:
    with pytest.raises(Unreachable, match=r"'no-such-host\.invalid'.*check the name") as caught:
        Address("no-such-host.invalid", 25520).resolved()
    assert caught.value.cause == "name"


def test_the_own_address_towards_loopback_is_loopback() -> None:
    assert own_address(Address("127.0.0.1", 25520)) == "127.0.0.1"


def test_own_addresses_are_told_from_others() -> None:
    assert Address("127.0.0.1", 25520).is_own
    assert not Address("203.0.113.77", 25520).is_own  # is for documentation


def test_a_taken_port_is_said_to_be_taken(listener: Address) -> None:
    with pytest.raises(NodeFailed, match=rf"{listener}: the port is taken by process {os.getpid()} .*another port"):
        listener.check_free()


def test_a_port_is_free_again_once_the_listener_is_gone(listener: Address) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = Address(*server.getsockname())
    free.check_free()
    assert free.port != listener.port


def test_nobody_can_listen_at_the_address_of_another_machine() -> None:
    with pytest.raises(NodeFailed, match=r"203\.0\.113\.77:25520, not an address of this machine"):
        Address("203.0.113.77", 25520).check_free()
