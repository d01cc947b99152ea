"""Real Ray nodes on loopback: who gets in, what listens where, who finds whom, and that nothing remains."""

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from akkordeon.engines.ray.cluster import Address, Cause, Node, Token, new_token, own_address, probe, read_token
from akkordeon.engines.ray.cluster.certificates import init
from akkordeon.errors import NodeFailed, TokenUnusable, Unreachable
from tests.engines.ray.cluster.nodes import (
    User,
    all_gone,
    free_address,
    is_alive,
    keepers,
    listening,
    node_processes,
    own_place,
)
from tests.waiting import limit

CONNECT = """
os.environ.update(node.environment)
import ray
ray.init(address=str(node.address), namespace="test", _node_ip_address=node.ip, logging_level="error")
"""

CREATE = (
    CONNECT
    + """
class Counter:
    count = 0
    def add(self):
        self.count += 1
        return self.count
counter = ray.remote(num_cpus=0)(Counter).options(name="counter").remote()
print(ray.get(counter.add.remote()), flush=True)
"""
)

FIND = (
    CONNECT
    + """
print(ray.get(ray.get_actor("counter").add.remote()), flush=True)
"""
)

COUNT = (
    CONNECT
    + """
print(len([node for node in ray.nodes() if node["Alive"]]), flush=True)
"""
)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with own_place() as place:
        yield place


@pytest.fixture(scope="module")
def node(place: Path) -> Iterator[Node]:
    node = Node.open(free_address(), timeout=limit(60.0))
    processes = node_processes(place)
    yield node
    node.close()
    assert all_gone(processes, place)


def head(address: Address) -> str:
    return f"Node.open(Address.parse('{address}'), timeout={limit(60.0)})"


def test_a_network_requires_its_token_and_tells_its_version(node: Node) -> None:
    token = read_token(Path(node.environment["RAY_AUTH_TOKEN_PATH"]))
    answer = probe(node.address, token)
    assert answer.wants_token
    assert answer.version.startswith("2.")


def test_access_without_a_token_is_refused(node: Node) -> None:
    with pytest.raises(Unreachable, match=f"{node.address} needs a token: copy") as caught:
        probe(node.address, None)
    assert caught.value.cause == Cause.NO_TOKEN


def test_access_with_a_wrong_token_is_refused(node: Node) -> None:
    with pytest.raises(Unreachable, match="wrong token for the network") as caught:
        probe(node.address, Token("f" * 64))
    assert caught.value.cause == Cause.WRONG_TOKEN


def test_only_this_user_can_read_what_the_node_keeps(node: Node, place: Path) -> None:
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in place.iterdir()] == [0o700]
    token = Path(node.environment["RAY_AUTH_TOKEN_PATH"])
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    secret = token.read_text().strip()
    for process in node_processes(place):
        assert not [word for word in process.cmdline() if secret in word]


def test_the_same_user_finds_the_node_and_shares_it(node: Node, place: Path) -> None:
    before = node_processes(place)
    for other in (
        Node.open(node.address),
        Node.open(node.address, join=True),
        Node.open(Address("localhost", node.address.port), join=True),
    ):
        assert other.environment == node.environment
        assert other.address == node.address
        other.close()
    assert set(node_processes(place)) >= set(before)
    assert len(keepers(place)) == 2


def test_another_user_of_the_machine_does_not_get_in(node: Node) -> None:
    with own_place():
        with pytest.raises(Unreachable, match="belongs to another user of this machine"):
            Node.open(node.address, join=True)
        with pytest.raises(NodeFailed, match=r"the port is taken by .*another user.*Or choose another port"):
            Node.open(node.address)


def test_drivers_find_each_other_and_listen_on_loopback_only(node: Node, place: Path) -> None:
    with User(head(node.address), CREATE) as first:
        assert first.line() == "1"
        with User(f"Node.open(Address.parse('{node.address}'), join=True)", FIND) as second:
            assert second.line() == "2"
            drivers = [psutil.Process(user.process.pid) for user in (first, second)]
            found = [each for process in [*node_processes(place), *drivers] for each in listening(process)]
    assert {ip.removeprefix("::ffff:") for _, ip in found} == {"127.0.0.1"}
    assert {"gcs_server", "raylet", "ray::Counter"} <= {name for name, _ in found}
    assert sum("python" in name for name, _ in found) >= len(drivers)


def test_a_port_that_something_else_listens_at_is_refused_at_once(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname())
        with pytest.raises(NodeFailed, match=rf"port is taken by process {os.getpid()} .*: no reply from {address}"):
            Node.open(address)


def test_joining_where_nothing_listens_is_refused(place: Path) -> None:
    address = free_address()
    before = list(place.iterdir())
    with pytest.raises(Unreachable, match=f"nothing listens at {address}"):
        Node.open(address, join=True)
    assert list(place.iterdir()) == before


def test_a_network_that_others_can_reach_needs_a_token() -> None:
    with pytest.raises(TokenUnusable, match=r"others can reach a network at 192\.0\.2\.1:25520.*give it a token"):
        Node.open(Address("192.0.2.1", 25520))


def test_other_addresses_of_loopback_are_refused() -> None:
    with pytest.raises(NodeFailed, match=r"Ray knows is 127\.0\.0\.1"):
        Node.open(Address("127.0.0.2", 25520))


def test_nothing_remains_of_a_node_whose_users_are_killed() -> None:
    start = head(free_address())
    with own_place() as place, User(start, CREATE) as first, User(start) as second:  # both at once
        assert (first.line(), second.line()) == ("1", "up")
        assert len(keepers(place)) == 2
        processes = node_processes(place)
        assert any("Counter" in process.name() for process in processes)
        second.process.kill()
        assert second.process.wait() == -signal.SIGKILL
        assert all(map(is_alive, processes))
        first.process.kill()
        assert all_gone(processes, place)


def test_a_node_joins_by_token_and_certificate_and_ends_with_its_keeper(tmp_path: Path) -> None:
    mine = own_address(Address("192.0.2.1", 25520))
    address, token = free_address(mine), new_token(tmp_path / "token")
    init(tmp_path, [mine])
    means = f"timeout={limit(60.0)}, token=Path({str(token)!r}), tls=Tls.of(Path({str(tmp_path)!r}), {mine!r})"
    with own_place() as place, User(f"Node.open(Address.parse('{address}'), {means})") as user:
        assert user.line() == "up"
        with own_place() as other, User(f"Node.open(Address.parse('{address}'), join=True, {means})", COUNT) as joined:
            assert joined.line() == "2"
            processes = node_processes(other)
            joined.process.kill()
            assert all_gone(processes, other)
        processes = node_processes(place)
        keepers(place)[1].kill()
        assert all_gone(processes, place)
