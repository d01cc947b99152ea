"""A cluster of plain Ray on three hosts works, lives through a short cut, and notices a power cut."""

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.hosts import Command, Host, Hosts, wait_until
from tests.hosts.host import HOME
from tests.sharing import Shared
from tests.waiting import limit

pytestmark = pytest.mark.xdist_group("hosts")

LIMIT = 40.0
"""Seconds for whatever is waited for."""

PORT = 25520

SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN_PATH": f"{HOME}/token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_max_direct_call_object_size": "4000000",
    # A host that does not answer counts as dead after threshold times (period + timeout): here, 6 s.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}

SMALL = ["--object-store-memory=100000000", "--num-cpus=1", "--disable-usage-stats", "--block"]

CUT = 3.0
"""Seconds, less than it takes to be counted as dead."""


def join(host: Host, *arguments: str) -> Command:
    return host.start(["ray", "start", f"--node-ip-address={host.address}", *arguments, *SMALL], SETTINGS)


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared[Hosts]]:
    shared = Shared(make_cluster)
    yield shared
    shared.close()


@pytest.fixture
def cluster(shared: Shared[Hosts], request: pytest.FixtureRequest) -> Iterator[Hosts]:
    with shared.lend(request.node) as hosts:
        yield hosts


@contextmanager
def make_cluster() -> Iterator[Hosts]:
    """Three hosts with a node of Ray each."""
    token = secrets.token_hex(32)
    with Hosts(3) as hosts:
        for host in hosts:
            path = host.path(f"{HOME}/token")
            path.touch(0o600)
            path.write_text(token)
        head = join(hosts[0], "--head", f"--port={PORT}", "--include-dashboard=false")
        wait_until(lambda: any(socket.port == PORT for socket in hosts[0].sockets()), LIMIT, "the head to listen")
        nodes = [head, *(join(host, f"--address={hosts[0].address}:{PORT}") for host in (hosts[1], hosts[2]))]
        for node in nodes:
            node.wait_for("Ray runtime started", LIMIT)
        yield hosts


def drive(cluster: Hosts, host: Host, task: str) -> Command:
    """Start a driver on a host, that does something with host2."""
    arguments = [task, f"{cluster[0].address}:{PORT}", host.address, cluster[1].address]
    return host.start([sys.executable, "-m", "tests.hosts.drivers", *arguments], SETTINGS)


def test_a_driver_on_each_host_joins_through_the_node_of_its_own(cluster: Hosts) -> None:
    drivers = [drive(cluster, host, "tell") for host in cluster]
    everyone = [host.address for host in cluster]
    for driver, host in zip(drivers, cluster, strict=True):
        assert driver.wait(limit(LIMIT)) == 0, driver.stderr
        assert driver.stdout.split() == [host.address, *everyone]


def test_an_actor_on_one_host_is_called_from_another(cluster: Hosts) -> None:
    driver = drive(cluster, cluster[2], "measure")
    assert driver.wait(limit(LIMIT)) == 0, driver.stderr
    figure, calls = driver.stdout.splitlines()
    print(f"0.8 MB from {cluster[2].name} to {cluster[1].name} and back a count: {figure}")
    assert calls == "host2 1 200704.0 to host2 201 200704.0"


def test_a_call_in_flight_survives_a_short_cut_and_nothing_is_lost(cluster: Hosts) -> None:
    driver = drive(cluster, cluster[2], "send")
    driver.wait_for("20\n", LIMIT)
    cluster[1].cut()
    before = driver.stdout.count("\n")
    with pytest.raises(TimeoutError, match="still runs after 3 s"):
        driver.wait(CUT)
    assert driver.stdout.count("\n") <= before + 1  # it may not yet have told of one that had come back
    cluster[1].heal()
    wait_until(lambda: driver.stdout.count("\n") > before + 50, LIMIT, "calls to return")
    driver.kill()
    counts = driver.stdout.splitlines()
    assert counts[: before + 50] == [str(number) for number in range(1, before + 51)]


def test_callers_hear_of_a_host_that_lost_its_power(cluster: Hosts) -> None:
    """It stays dead, so this is the last test."""
    driver = drive(cluster, cluster[2], "wait")
    driver.wait_for("waiting", LIMIT)
    cluster[1].kill()
    assert driver.wait(limit(LIMIT)) == 0, driver.stderr
    print(driver.stdout)
    assert "ActorDiedError" in driver.stdout
