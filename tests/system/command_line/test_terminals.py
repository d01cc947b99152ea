"""One network and those who join it, in processes of their own on this machine, as in terminals of their own.

What only asks something is called in this process, where torch need not be imported again.
"""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import Result

from akkordeon.cli.commands.ask import StatusCommand
from akkordeon.cli.remote import NetworkWatch
from akkordeon.cli.values import Where
from akkordeon.engines.ray.cluster import Address
from akkordeon.errors import Unreachable
from tests.engines.ray.cluster.nodes import all_gone, free_address, keepers, node_processes, own_place, wait_for
from tests.sharing import Shared
from tests.system.command_line.calling import RECIPE, Running, call, lines_of, running, write_recipe
from tests.waiting import limit

pytestmark = pytest.mark.timeout(120, func_only=True)

LIMIT = 60.0
"""Seconds that a process has for whatever is waited for: each imports torch."""

UNHURRIED = """
from threading import Event
its = batches
def batches(split, take=slice(None)):
    for batch in its(split, take):
        yield batch
        Event().wait(0.2)
"""
"""Leaves the machine to processes that begin."""

Start = Callable[..., Running]


@dataclass
class Opened:
    """A network in a terminal of its own, one of whose gates lives on a host in another one."""

    at: str
    recipe: Path
    saved: Path
    place: Path
    terminal: Running
    host: Running

    def ask(self, command: str, *arguments: object) -> Result:
        return call(command, *arguments, "--network", self.at, "--json")

    def sentinels(self) -> list[str]:
        return [each["name"] for each in self.status()["sentinels"]]

    def windows(self) -> dict[str, int]:
        return {each["name"]: each["window"] for each in self.status()["sentinels"]}

    def status(self) -> dict[str, Any]:
        result = self.ask("status")
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared[Opened]]:
    shared = Shared(lambda: open_network(tmp_path_factory.mktemp("terminals")))
    yield shared
    shared.close()


@pytest.fixture
def opened(shared: Shared[Opened], request: pytest.FixtureRequest) -> Iterator[Opened]:
    with shared.lend(request.node) as opened:
        yield opened


@contextmanager
def open_network(folder: Path) -> Iterator[Opened]:
    recipe, at = write_recipe(folder, RECIPE + UNHURRIED), str(free_address())
    with own_place() as place, ExitStack() as stack:
        start = partial(running, limit=LIMIT)
        host = stack.enter_context(start("host", "--network", at, "--name", "A", "--wait", str(limit(60))))
        hosting = ("--place", "head=A", "--wait", str(limit(60)))
        terminal = stack.enter_context(
            start("network", recipe, "--address", at, "--save", folder / "saved", *hosting, "--json")
        )
        terminal.wait_for('"open"')
        yield Opened(at, recipe, folder / "saved", place, terminal, host)


@pytest.fixture
def start(opened: Opened) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(*words: object) -> Running:
            return stack.enter_context(running(*words, "--network", opened.at, "--json", limit=LIMIT))

        yield start


def test_sentinels_join_train_change_settings_and_leave_independently(opened: Opened, start: Start) -> None:
    first = start("sentinel", "train", opened.recipe, "--share", "1/2", "--name", "first")
    first.wait_for('"report"')
    second = start("sentinel", "train", opened.recipe, "--share", "2/2", "--in-flight", 3)
    second.wait_for('"report"')
    validation = start("sentinel", "validate", opened.recipe, "--every", "0.5")
    validation.wait_for('"report"')
    assert sorted(opened.sentinels()) == ["first", "train", "validate"]
    opened.terminal.wait_for('"sentinel": "first"')

    settings_are_changed(opened, "train")
    detached = opened.ask("detach", "train")
    assert detached.exit_code == 0, detached.output
    assert second.end() == 0
    assert '"event": "done"' in second.written["stdout"]
    first.written["stdout"] = validation.written["stdout"] = ""
    first.wait_for('"report"')
    validation.wait_for('"report"')

    validation.signal(signal.SIGINT)
    assert validation.end() == 130
    assert "leaving: waiting" in validation.written["stderr"]
    first.signal(signal.SIGKILL)
    opened.terminal.wait_for("first", "stderr")
    status = opened.status()
    assert status["sentinels"] == []
    assert [gate["open"] for gate in status["gates"]] == [0, 0]
    assert status["restarts"] == 0


def settings_are_changed(opened: Opened, name: str) -> None:
    result = opened.ask("set", name, "in_flight=1")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"event": "set", "name": name, "settings": {"in_flight": 1}}
    assert opened.ask("set", "head", "lr=0.05", "weight_decay=0").exit_code == 0
    assert wait_for(lambda: opened.windows()[name] == 1)
    assert {"mean", "p50", "p95", "max", "counts"} == opened.status()["gates"][0]["staleness"].keys()


def test_a_reader_that_leaves_ends_a_command_quietly_and_disturbs_no_other(opened: Opened, start: Start) -> None:
    sentinel = start("sentinel", "train", opened.recipe, "--name", "read")
    sentinel.wait_for('"report"')
    for command in ("watch", "status"):
        asking = start(command)
        assert asking.process.stdout is not None
        asking.process.stdout.close()
        asking.forget("stdout")
        assert asking.end() == 1
        assert asking.written["stderr"] == ""
    assert opened.ask("detach", "read").exit_code == 0
    assert sentinel.end() == 0


def test_a_network_is_saved_from_any_terminal(opened: Opened, tmp_path: Path) -> None:
    result = opened.ask("save", tmp_path / "copy")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"event": "saved", "path": str(tmp_path / "copy" / "v000001")}
    assert any((tmp_path / "copy").rglob("*.safetensors"))


def test_one_pass_over_the_test_data_shows_one_report_and_ends(opened: Opened) -> None:
    result = opened.ask("sentinel", "test", opened.recipe)
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()] == ["attached", "report", "done"]


OTHER_SHAPE = """
its = batches
def batches(split, take=slice(None)):
    return [(x[:, :, None], y) for x, y in its(split, take)]
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sentinel", "train", "mine.py", "-o", "width=16"], "has 0.weight float32 16x4, and the network float32 8x4"),
        (["sentinel", "validate", "digits"], "the gates of its recipe are stem, body, head, and those of the network"),
        (["sentinel", "train", "shape.py"], "its inputs are float32 4x1, and those of the network float32 4"),
        (["host", "--name", "A"], "the name of 'host A' is taken in this network"),
        (["set", "nobody", "lr=1"], "there is neither a gate nor a sentinel 'nobody' in this network"),
        (["set", "stem", "lr=1", "momentum=-1"], "gate 'stem' cannot have lr=1, momentum=-1: Invalid momentum value"),
    ],
)
def test_a_mismatch_is_refused_with_the_reason(opened: Opened, words: list[str], said: str) -> None:
    write_recipe(opened.recipe.parent, RECIPE + OTHER_SHAPE, "shape.py")
    words = [str(opened.recipe.parent / word) if word.endswith(".py") else word for word in words]
    result = call(*words, "--network", opened.at)
    assert result.exit_code == (1 if "nobody" in words else 2), result.output
    (line,) = lines_of(result.stderr)
    assert said in line


def test_an_unknown_network_name_is_refused_and_known_ones_are_listed(opened: Opened) -> None:
    result = call("status", "--network", f"{opened.at}/second")
    assert result.exit_code == 2
    assert result.stderr == f"error: there is no network 'second' at {opened.at}; there are: network\n"


def test_a_second_network_at_one_address_is_refused(opened: Opened) -> None:
    result = call("network", opened.recipe, "--address", opened.at)
    assert result.exit_code == 2
    assert f"a network of this name is open at {opened.at}" in result.stderr


def test_closing_saves_ends_all_participants_and_leaves_nothing_behind(opened: Opened, start: Start) -> None:
    processes = [each for _ in keepers(opened.place)[:1] for each in node_processes(opened.place)]
    assert processes
    watch, sentinel = start("watch"), start("sentinel", "train", opened.recipe)
    for each in (watch, sentinel):
        each.wait_for('"report"')
    processes += node_processes(opened.place)
    result = opened.ask("close")
    assert result.exit_code == 0, result.output
    ends = [(each.end(), each.written["stderr"]) for each in (opened.terminal, opened.host, watch, sentinel)]
    assert [code for code, _ in ends] == [0, 0, 0, 1], ends
    assert f"the network at {opened.at} is closed" in sentinel.written["stderr"]
    assert any(opened.saved.rglob("*.safetensors"))
    assert all_gone([each for each in processes if isinstance(each, psutil.Process)], opened.place)


# Without a network


@pytest.fixture
def nowhere() -> Address:
    return free_address()


def test_a_port_where_nothing_listens_is_reported_at_once(nowhere: Address) -> None:
    result = call("sentinel", "train", "digits", "--network", nowhere)
    assert result.exit_code == 2
    assert result.stderr == f"error: nothing listens at {nowhere}: is the network running? Check host and port\n"


@pytest.mark.parametrize("words", [("sentinel", "train", "digits"), ("network", "digits"), ("status",)])
def test_a_missing_cluster_of_ones_own_is_reported_at_once(nowhere: Address, words: tuple[str, ...]) -> None:
    result = call(*words, "--ray-address", nowhere)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: no Ray cluster listens at {nowhere}: check the address")


def test_an_unknown_gate_cannot_be_placed(recipe: Path, nowhere: Address) -> None:
    result = call("network", recipe, "--address", nowhere, "--place", "body=A")
    assert result.exit_code == 2
    assert result.stderr == "error: there is no gate 'body' to be placed; there are: stem, head\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status"], "give --network HOST:PORT, or set AKKORDEON_NETWORK"),
        (
            ["set", "train", "in_flight", "--network", "127.0.0.1:25520"],
            "invalid setting 'in_flight': expected",
        ),
        (["status", "--network", "nohost"], "invalid address 'nohost': host or port is missing"),
        (["status", "--network", "127.0.0.1:25520/a b"], "invalid name 'a b'"),
        (["status", "--network", "192.0.2.1:25520", "--tls", "nofolder"], "no such file: nofolder"),
        (
            ["network", "digits", "--address", "192.0.2.1:25520", "--place", "stem"],
            "invalid placement 'stem': expected",
        ),
        (["network", "digits", "--save-every", "5"], "needs --save DIR"),
        (["status", "--ray-address", "ray://127.0.0.1:1"], "cannot use 'ray://127.0.0.1:1': only processes on"),
        (["tls", "init", "keys", "--host", "../x"], "must have neither '://' nor a path"),
    ],
)
def test_impossible_options_are_refused(words: list[str], said: str) -> None:
    result = call(*words)
    assert result.exit_code == 2
    (line,) = lines_of(result.stderr)
    assert said in line


def test_other_machines_need_a_token_which_can_be_made(tmp_path: Path) -> None:
    token = {"AKKORDEON_TOKEN_PATH": str(tmp_path / "token")}
    result = call("status", "--network", "192.0.2.1:25520", environment=token)
    assert result.exit_code == 2
    assert f"cannot read the token from {tmp_path / 'token'}" in result.stderr
    assert call("token", "new", environment=token).exit_code == 0
    again = call("token", "new", environment=token)
    assert again.exit_code == 2
    assert "there is a token in" in again.stderr
    assert call("token", "new", "--force", environment=token).exit_code == 0


def test_certificates_are_made_for_each_machine(tmp_path: Path) -> None:
    result = call("tls", "init", tmp_path / "keys", "--host", "192.0.2.7", "--host", "gpu3.example.org")
    assert result.exit_code == 0, result.output
    assert {"ca.key", "ca.crt", "192.0.2.7.crt", "gpu3.example.org.key"} <= {
        each.name for each in (tmp_path / "keys").iterdir()
    }


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akkordeon.engines.ray.cluster.installed._version", lambda _: "")
    result = call("network", "digits")
    assert result.exit_code == 2
    assert 'pip install "akkordeon[ray]"' in result.stderr


def test_a_network_that_is_gone_ends_the_process_soon(nowhere: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    told: list[Exception] = []
    monkeypatch.setattr("akkordeon.cli.remote.PROBE", 0.01)
    monkeypatch.setattr("os._exit", codes.append)
    with socket.create_server((nowhere.host, nowhere.port)):
        pass
    with NetworkWatch(StatusCommand(network=Where(nowhere, "network")), told.append):
        assert wait_for(lambda: bool(codes))
    assert codes[0] == 1
    assert isinstance(told[0], Unreachable)
    assert str(told[0]).startswith(f"lost the network: nothing listens at {nowhere}")
