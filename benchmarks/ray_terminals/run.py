"""Runs a network and sentinels in terminals of their own, on this machine, and times starts and error messages.

Examples:
  python -m benchmarks.ray_terminals                    # everything, five minutes; writes results.json and table.md
  python -m benchmarks.ray_terminals --only mistakes    # one part; writes nothing
"""

import ipaddress
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from akkordeon.engines.ray.cluster.home import wait_until
from benchmarks.common.claims import parser, table, write_results, write_table

HERE, PACKAGE = Path(__file__).parent, "benchmarks.ray_terminals"

# Ctrl-C works even if the shell that started this process ignores it.
DRIVER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from akkordeon.cli import main
main()
"""
PORT = 25533
LOCAL = "127.0.0.1"
AT = f"{LOCAL}:{PORT}"
EPOCHS = 8
TIMEOUT = 300.0
"""Seconds after which any wait fails."""

LEAVING = 10.0
"""Seconds for processes to end after their network has closed."""

STARTS = 3
"""Timed sentinels that join alone."""

ELSEWHERE = f"{LOCAL}:{PORT + 1}"
"""An address where no process listens."""


class Terminal:
    """A command in a process of its own, and its output so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self.log = log
        self.began = time.monotonic()

    def wait_for(self, text: str) -> float:
        """Wait until a text is written; return the seconds since the command started."""
        return self._wait(lambda: text in self.log.read_text(), text)

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(TIMEOUT)

    def leave(self) -> int:
        """Press Ctrl-C, and wait for the end."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def _wait(self, met: Callable[[], bool], what: str) -> float:
        def over() -> bool:
            return met() or self.process.poll() is not None

        wait_until(over, time.monotonic() + TIMEOUT)
        seconds = time.monotonic() - self.began
        if not met():
            raise SystemExit(f"no {what!r} in the output:\n{self.log.read_text()}")
        return seconds


class Shell:
    """Starts commands, each in a terminal of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._count = 0

    def type(self, words: str, **variables: str) -> Terminal:
        """Start a command."""
        self._count += 1
        log = self._folder / f"{self._count}.log"
        return self._stack.enter_context(_typed(words.split(), log, variables))


@contextmanager
def _typed(words: list[str], log: Path, variables: dict[str, str]) -> Iterator[Terminal]:
    known = os.environ | {"PYTHONUNBUFFERED": "1"} | variables
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *words],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=known,
            start_new_session=True,
        )
    try:
        yield Terminal(process, log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def scenario(shell: Shell) -> list[tuple[str, str, str]]:
    """Play the four terminals; return rows of a table."""
    before = set(psutil.pids())
    network = shell.type(f"network mnist --address {AT}")
    opened = network.wait_for("the network is open")
    train = shell.type(f"sentinel train mnist --network {AT} --take 60000 --epochs {EPOCHS}")
    small = shell.type(f"sentinel train mnist --network {AT} --take 3000")
    validation = shell.type(f"sentinel validate mnist --network {AT} --every 10")
    for each in (train, small, validation):
        each.wait_for("epoch    1")
    beyond = _beyond_loopback(before)
    small.wait_for("epoch    9")
    left = small.leave()
    shown = train.log.read_text().count("epoch")
    assert train.end() == 0, train.log.read_text()
    after = train.log.read_text().count("epoch") - shown
    _await_one_more(validation)
    accuracies = _accuracies(validation)
    starts = [_start(shell) for _ in range(STARTS)]
    codes = validation.leave(), network.leave()
    remaining = _remaining(before)
    assert (left, *codes) == (130, 130, 130), (left, codes)
    assert after == EPOCHS - shown, train.log.read_text()
    return [
        ("best of the last three validations", f"{max(accuracies[-3:]):.2%}", ">= 96.5 %"),
        ("sentinel to its first batch done, the others idle", f"{statistics.median(starts):.1f} s", "<= 12 s"),
        ("network, until it is open", f"{opened:.1f} s", ""),
        ("epochs of the other after one has left, none failed", f"{after}", ""),
        ("sockets beyond loopback", f"{beyond}", "0"),
        ("processes that remain", f"{len(remaining)}", "0"),
    ]


def _start(shell: Shell) -> float:
    terminal = shell.type(f"sentinel train mnist --network {AT} --take 64 --epochs 1")
    seconds = terminal.wait_for("epoch    1")
    assert terminal.end() == 0, terminal.log.read_text()
    return seconds


def _await_one_more(validation: Terminal) -> None:
    seen = len(_accuracies(validation))
    wait_until(lambda: len(_accuracies(validation)) > seen, time.monotonic() + TIMEOUT)


def _accuracies(terminal: Terminal) -> list[float]:
    lines = [line.split() for line in terminal.log.read_text().splitlines() if " accuracy " in line]
    return [float(words[words.index("accuracy") + 1]) for words in lines]


def _new(before: set[int]) -> list[psutil.Process]:
    found = []
    for pid in set(psutil.pids()) - before:
        try:
            process = psutil.Process(pid)
            line = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and ("ray" in line.lower() or "akkordeon" in line):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _beyond_loopback(before: set[int]) -> int:
    count = 0
    for process in _new(before):
        addresses = [each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN]
        count += sum(not _is_loopback(ip) for ip in addresses)
    return count


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _remaining(before: set[int]) -> list[psutil.Process]:
    wait_until(lambda: not _new(before), time.monotonic() + LEAVING)
    return _new(before)


def mistakes(shell: Shell, folder: Path) -> list[tuple[str, str, str]]:
    """Make mistakes; return the seconds until each is reported."""
    network = shell.type(f"network mnist --address {AT}")
    network.wait_for("the network is open")
    nothing = {"AKKORDEON_TOKEN_PATH": str(folder / "no token")}
    cases: list[tuple[str, str, dict[str, str], str]] = [
        ("nothing listens", f"sentinel train mnist --network {ELSEWHERE}", {}, "<= 4 s"),
        ("no token, beyond loopback", "sentinel train mnist --network 192.0.2.1:25520", nothing, "<= 4 s"),
        ("no such network", f"sentinel train mnist --network {AT}/other", {}, "<= 4 s"),
        ("second network of one name", f"network mnist --address {AT}", {}, "<= 4 s"),
        ("other recipe", f"sentinel train digits --network {AT}", {}, "<= 8 s"),
        ("unknown recipe", f"sentinel train nothing --network {AT}", {}, "<= 8 s"),
        ("a Ray that cannot be reached", f"sentinel train mnist --ray-address {ELSEWHERE}", {}, "<= 10 s"),
    ]
    with socket.create_server((LOCAL, 0)) as other:
        port = other.getsockname()[1]
        cases.append(("port taken by another program", f"network mnist --address {LOCAL}:{port}", {}, "<= 4 s"))
        rows = [_mistake(shell, *case) for case in cases]
    assert network.leave() == 130
    return rows


def _mistake(shell: Shell, what: str, words: str, variables: dict[str, str], target: str) -> tuple[str, str, str]:
    terminal = shell.type(words, **variables)
    code = terminal.end()
    seconds = time.monotonic() - terminal.began
    said = terminal.log.read_text().strip()
    assert code in (1, 2), f"{words}: exit code {code}\n{said}"
    print(f"{what}: {seconds:.1f} s, exit code {code}\n  {said}", file=sys.stderr, flush=True)
    return what, f"{seconds:.1f} s", target


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--only", choices=("scenario", "mistakes"), help="measure one part; write nothing")
    only = options.parse_args(arguments).only
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, shell = Path(name), Shell(Path(name), stack)
        rows = scenario(shell) if only != "mistakes" else []
        rows += mistakes(shell, folder) if only != "scenario" else []
    lines = table(("figure", "measured", "target"), rows).splitlines()
    if only:
        print("\n".join(lines))
    else:
        write_results(HERE, {figure: {"measured": measured, "target": target} for figure, measured, target in rows})
        write_table(HERE, lines)
