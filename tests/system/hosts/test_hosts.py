"""Hosts are apart from each other and from this machine, fail as hosts do, and leave nothing behind."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.hosts import Command, Host, Hosts, HostsUnavailable, wait_until
from tests.system.hosts.host import HOME
from tests.system.hosts.namespaces import PRIVATE
from tests.system.hosts.needs import check
from tests.waiting import limit

pytestmark = pytest.mark.hosts

LIMIT = 20.0
"""Seconds for whatever is waited for."""

ECHO = """
import socket
server = socket.create_server(("0.0.0.0", 5000))
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    while data := connection.recv(100):
        connection.sendall(data)
"""
"""Answers one after the other."""

ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], 5000), timeout=1) as connection:
    connection.sendall(b"ping")
    print(connection.recv(100).decode())
"""

TALK = """
import socket, sys
with socket.create_connection((sys.argv[1], 5000)) as connection:
    for number in range(1_000_000):
        connection.sendall(b"%d" % number)
        print(connection.recv(100).decode(), flush=True)
"""

OWNER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.system.hosts import Hosts
with Hosts(2) as hosts:
    runs = [host.start(["sleep", "1000"]) for host in hosts]
    daemons = [host.run(["sh", "-c", "sleep 2000 >/dev/null 2>&1 & echo $!"]) for host in hosts]
    print(*[host.path("/").parent.name for host in hosts], flush=True)
    if sys.argv[1] == "raise":
        raise OSError("out of luck")
    signal.pause()
"""
"""Makes hosts on which something runs, and tells a process of each."""


def serve(host: Host) -> Command:
    server = host.start([sys.executable, "-c", ECHO])
    server.wait_for("listening", LIMIT)
    return server


def reaches(one: Host, other: Host) -> bool:
    return one.run([sys.executable, "-c", ASK, other.name]).stdout == "ping\n"


def commands(host: Host) -> list[str]:
    return [process.command for process in host.processes()]


def test_hosts_reach_each_other_by_address_and_name(hosts: Hosts) -> None:
    assert [host.address for host in hosts] == ["10.99.0.1", "10.99.0.2", "10.99.0.3"]
    serve(hosts[1])
    assert reaches(hosts[0], hosts[1])
    assert reaches(hosts[2], hosts[1])
    assert hosts[2].run([sys.executable, "-c", ASK, hosts[1].address]).stdout == "ping\n"


def test_two_sets_of_hosts_are_independent(hosts: Hosts) -> None:
    serve(hosts[1])
    with Hosts(2) as others:
        assert others[1].address == hosts[1].address
        assert not reaches(others[0], others[1])
        serve(others[1])
        assert reaches(others[0], others[1])
    assert reaches(hosts[0], hosts[1])


def test_nothing_of_the_network_of_this_machine_is_touched_or_reached() -> None:
    before = socket.if_nameindex()
    with Hosts(2) as hosts:
        during = socket.if_nameindex()
        routes = hosts[0].run(["ip", "route"]).stdout
    assert during == before
    assert re.fullmatch(r"10\.99\.0\.0/24 dev eth0 .*\n", routes)


def test_folders_where_programs_meet_are_private(hosts: Hosts) -> None:
    hosts[0].run(["touch", *(f"{folder}/mine" for folder in PRIVATE)])
    for folder in PRIVATE:
        assert hosts[0].path(folder).joinpath("mine").exists()
        assert not hosts[1].path(folder).joinpath("mine").exists()
        assert not Path(folder, "mine").exists()


def test_the_home_of_a_user_is_private(hosts: Hosts) -> None:
    assert hosts[0].run([sys.executable, "-c", "import pathlib; print(pathlib.Path.home())"]).stdout == f"{HOME}\n"
    assert HOME.startswith(PRIVATE)


def test_a_folder_is_shared_where_asked_for(tmp_path: Path) -> None:
    with Hosts(2, shared=[tmp_path]) as hosts:
        hosts[0].run(["sh", "-c", f"echo hello > {tmp_path}/note"])
        assert hosts[1].run(["cat", tmp_path / "note"]).stdout == "hello\n"
    assert (tmp_path / "note").read_text() == "hello\n"


def test_the_sources_can_be_run_on_a_host(hosts: Hosts) -> None:
    done = hosts[0].run([sys.executable, "-c", "import tests.system.hosts, rich; print(tests.system.hosts.__file__)"])
    assert done.stdout.strip() == str(Path(__file__).parent / "__init__.py"), done.stderr


def test_a_host_sees_its_own_processes_alone(hosts: Hosts) -> None:
    hosts[0].start(["sleep", "1000"])
    hosts[1].start(["sleep", "2000"])
    wait_until(lambda: commands(hosts[0]) == ["sleep 1000"], LIMIT, "what runs on host1")
    wait_until(lambda: commands(hosts[1]) == ["sleep 2000"], LIMIT, "what runs on host2")
    assert hosts[2].processes() == []
    seen = hosts[0].run(["sh", "-c", "cat /proc/[0-9]*/cmdline"]).stdout
    assert "sleep\0001000" in seen
    assert "sleep\0002000" not in seen
    assert "pytest" not in seen


def test_a_host_tells_what_listens_there(hosts: Hosts) -> None:
    server = serve(hosts[1])
    (found,) = hosts[1].sockets()
    (process,) = hosts[1].processes()
    assert found == (process.pid, "0.0.0.0", 5000)  # noqa: S104 - what it is to find
    assert hosts[0].sockets() == []
    server.kill()
    assert hosts[1].sockets() == []


def test_a_command_ends_by_signal_alone_and_all_of_its_session_by_kill(hosts: Hosts) -> None:
    shell = hosts[0].start(["sh", "-c", "trap 'echo caught; exit 7' TERM; sleep 1000 & echo started; wait"])
    shell.wait_for("started", LIMIT)
    shell.signal(signal.SIGTERM)
    assert shell.wait(limit(LIMIT)) == 7
    assert shell.stdout == "started\ncaught\n"
    assert commands(hosts[0]) == ["sleep 1000"]
    shell = hosts[1].start(["sh", "-c", "sleep 1000 & echo started; wait"])
    shell.wait_for("started", LIMIT)
    shell.kill()
    wait_until(lambda: hosts[1].processes() == [], LIMIT, "the end of both")
    assert shell.returncode == -signal.SIGKILL


def test_a_command_begins_as_after_a_login(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THIS_MACHINE", "yes")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under a shell that runs the tests in the background
    try:
        begun = hosts[0].run([sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT).__name__)"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert begun.stdout == "default_int_handler\n"
    assert set(hosts[0].run(["env"]).stdout.split()) >= {"HOME=/tmp/home", "LANG=C.UTF-8"}
    assert "OF_THIS_MACHINE" not in hosts[0].run(["env"]).stdout


def test_a_shell_can_be_opened_on_a_host(hosts: Hosts) -> None:
    found = subprocess.run(hosts[1].shell, shell=True, input="hostname; pwd", capture_output=True, text=True)  # noqa: PLW1510, S602
    assert found.stdout == f"host2\n{Path.cwd()}\n"


def test_a_command_that_takes_too_long_is_ended(hosts: Hosts) -> None:
    with pytest.raises(TimeoutError, match=r"'sleep', '1000'\] on host1 still runs after 0\.2 s"):
        hosts[0].run(["sleep", "1000"], timeout=0.2)
    wait_until(lambda: hosts[0].processes() == [], LIMIT, "its end")
    assert hosts[0].is_on


def test_waiting_for_a_text_ends_with_the_command(hosts: Hosts) -> None:
    with pytest.raises(RuntimeError, match=r"on host1 ended with 3 before 'hello'; its outputs end with .*oops"):
        hosts[0].start(["sh", "-c", "echo oops >&2; exit 3"]).wait_for("hello", LIMIT)


def test_a_cut_is_silent_and_heals(hosts: Hosts) -> None:
    serve(hosts[1])
    talk = hosts[0].start([sys.executable, "-c", TALK, "host2"])
    talk.wait_for("10\n", LIMIT)
    hosts[1].cut()
    assert not reaches(hosts[2], hosts[1])
    assert "LOWER_UP" in hosts[1].run(["ip", "link", "show", "eth0"]).stdout
    said = talk.stdout
    assert talk.returncode is None
    hosts[1].heal()
    wait_until(lambda: len(talk.stdout) > len(said) + 100, LIMIT, "the talk to go on")
    numbers = talk.stdout.splitlines()[:-1]
    assert numbers == [str(number) for number in range(len(numbers))]


def test_a_killed_host_ends_at_once_and_silently(hosts: Hosts) -> None:
    server = serve(hosts[1])
    hosts[1].run(["touch", f"{HOME}/mine"])
    hosts[1].run(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &"])
    talk = hosts[0].start([sys.executable, "-c", TALK, "host2"])
    talk.wait_for("10\n", LIMIT)
    hosts[1].kill()
    assert server.returncode == -signal.SIGKILL
    assert hosts[1].processes() == []
    assert not reaches(hosts[2], hosts[1])
    assert talk.returncode is None
    with pytest.raises(RuntimeError, match=r"host2 \(10\.99\.0\.2\) is off; boot\(\)"):
        hosts[1].run(["true"])
    hosts[1].boot()
    assert not hosts[1].path(f"{HOME}/mine").exists()
    serve(hosts[1])
    assert reaches(hosts[2], hosts[1])


@contextlib.contextmanager
def owner(ending: str) -> Iterator[tuple[subprocess.Popen[str], list[Path]]]:
    """A process that has hosts, and the namespaces of these."""
    with subprocess.Popen([sys.executable, "-c", OWNER, ending], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        yield process, [Path("/proc", pid, "ns/pid").readlink() for pid in line.split()]


def inhabitants(namespaces: list[Path]) -> list[str]:
    """What runs in these namespaces."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if (entry / "ns/pid").readlink() in namespaces:
                found.append((entry / "cmdline").read_bytes().decode())
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_owner_ends_by_a_signal(number: signal.Signals) -> None:
    with owner("signal") as (process, namespaces):
        assert sum("sleep" in command for command in inhabitants(namespaces)) == 4
        os.kill(process.pid, number)
        process.wait(limit(LIMIT))
        wait_until(lambda: not inhabitants(namespaces), LIMIT, "the hosts to end")


def test_nothing_is_left_when_the_owner_fails() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, "raise"], stdout=-1, stderr=-1, text=True) as process:
        told, failed = process.communicate(timeout=limit(LIMIT))
    assert "out of luck" in failed
    assert not [pid for pid in told.split() if Path("/proc", pid).exists()]


def test_more_hosts_than_addresses_are_refused() -> None:
    with pytest.raises(ValueError, match=r"network 10\.99\.0\.0/30 has room for 1 to 2 hosts, not 3"):
        Hosts(3, "10.99.0.0/30")


def test_a_missing_requirement_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.system.hosts.needs.PROGRAMS", {"no-such-ip": "iproute2", "no-such-ss": "iproute2"})
    with pytest.raises(HostsUnavailable, match=r"no-such-ip, no-such-ss.*apt-get install iproute2; or set NO_NETNS=1"):
        check()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostsUnavailable, match=r"only root.*user 1000.*NO_NETNS=1"):
        check()
