"""Show one network on three hosts, which this machine makes for it: gates on each, sentinels that join from each.

With --dry, only show what is typed where; with --shells, make the hosts and say how to open a shell on each.
`examples/three_hosts.sh` runs this.
"""

import argparse
import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from tests.system.hosts import Command, Hosts, HostsUnavailable, wait_until
from tests.system.hosts.host import HOME

PORT = 25520
AT = f"10.99.0.1:{PORT}"

TOKEN = f"{HOME}/.config/akkordeon/token"

PATIENCE = 60.0
"""Seconds to come up, and to leave."""

TRAINING = 900.0
"""Seconds to train."""


class Line(NamedTuple):
    """What is typed on a host.

    Args:
        host: which, counted from 1.
        text: the command.
        wait: what for: for its end, when all have been typed; else before the next is.
    """

    host: int
    text: str
    wait: Literal["", "until it listens", "until its token is everywhere", "for its end, when all began"] = ""


UPDATES = 18000
"""Over which the learning rate falls: two sentinels train for as long as the larger one takes."""

SCENARIO = [
    Line(1, "akkordeon token new", "until its token is everywhere"),
    Line(
        1,
        f"akkordeon network mnist --address {AT} --place stem=B --place head=C -o updates={UPDATES}",
        "until it listens",
    ),
    Line(2, f"akkordeon host --network {AT} --name B"),
    Line(3, f"akkordeon host --network {AT} --name C"),
    Line(2, f"akkordeon sentinel train mnist --network {AT} --take 60000 --epochs 8", "for its end, when all began"),
    Line(3, f"akkordeon sentinel train mnist --network {AT} --take 3000"),
    Line(1, f"akkordeon sentinel validate mnist --network {AT} --every 20"),
]


class Terminal:
    """Where a line was typed, and how much of what came of it was shown."""

    def __init__(self, line: Line, command: Command) -> None:
        self.line = line
        self.command = command
        self._shown = {"stdout": 0, "stderr": 0}

    def show(self) -> None:
        """Show the lines that have come since.

        Raises:
            SystemExit: if the command has failed.
        """
        code = self.command.returncode  # asked first: whatever it has written by its end is shown
        for output in self._shown:
            new = getattr(self.command, output)[self._shown[output] :]
            whole = new if code is not None else new[: new.rfind("\n") + 1]
            self._shown[output] += len(whole)
            for each in whole.splitlines():
                print(f"host{self.line.host} | {each}", flush=True)
        if code not in (None, 0, 128 + signal.SIGINT, -signal.SIGINT):
            raise SystemExit(f"host{self.line.host}$ {self.line.text}\nended with exit code {code}")


class Play:
    """Types lines on hosts, and shows what comes of them."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._terminals: list[Terminal] = []

    def type(self, line: Line) -> None:
        """Type a line, and wait for what is to be waited for.

        Raises:
            SystemExit: if something has failed, or takes too long.
        """
        host = self._hosts[line.host - 1]
        # Hosts reach nobody else, so data comes from where this machine has it.
        cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        command = host.start(shlex.split(line.text), {"XDG_CACHE_HOME": cache, "PYTHONUNBUFFERED": "1"})
        self._terminals.append(Terminal(line, command))
        if line.wait == "until it listens":
            self._wait(lambda: any(socket.port == PORT for socket in host.sockets()), PATIENCE, line)
        elif line.wait == "until its token is everywhere":
            self._wait(partial(has_ended, command), PATIENCE, line)
            self._copy_token()

    def leave(self) -> None:
        """Wait for what ends by itself, then press Ctrl-C elsewhere, latest first; check that no process remains.

        Raises:
            SystemExit: if something does not leave.
        """
        for terminal in self._terminals:
            if terminal.line.wait == "for its end, when all began":
                self._wait(partial(has_ended, terminal.command), TRAINING, terminal.line)
        for terminal in reversed(self._terminals):
            line, command = terminal.line, terminal.command
            if command.returncode is None:
                print(f"host{line.host}^C ({line.text})", flush=True)
                command.signal(signal.SIGINT)
                self._wait(partial(has_ended, command), PATIENCE, line)
        try:
            wait_until(lambda: not any(host.processes() for host in self._hosts), PATIENCE, "all processes to end")
        except TimeoutError:
            left = {host.name: [process.command for process in host.processes()] for host in self._hosts}
            raise SystemExit(f"these processes remain: {left}") from None
        print("no process remains on any host")

    def _copy_token(self) -> None:
        token = self._hosts[0].path(TOKEN).read_bytes()
        for host in list(self._hosts)[1:]:
            copy = host.path(TOKEN)
            copy.parent.mkdir(mode=0o700, parents=True)
            copy.touch(mode=0o600)
            copy.write_bytes(token)

    def _wait(self, condition: Callable[[], bool], seconds: float, line: Line) -> None:
        def is_met() -> bool:
            for terminal in self._terminals:
                terminal.show()
            return condition()

        try:
            wait_until(is_met, seconds, f"host{line.host}$ {line.text}")
        except TimeoutError as error:
            raise SystemExit(str(error)) from None
        is_met()


def has_ended(command: Command) -> bool:
    """Whether a command has."""
    return command.returncode is not None


def show_shells() -> None:
    """Make the hosts, and say how to open a shell on each; Ctrl-C takes them down."""
    with Hosts(3) as hosts, contextlib.suppress(KeyboardInterrupt):
        for host in hosts:
            print(f"\n# {host.name}, {host.address}: in another terminal of this machine, as root\n{host.shell}")
        print("\nCtrl-C takes them down.", flush=True)
        threading.Event().wait()


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="only show what is typed where")
    parser.add_argument("--shells", action="store_true", help="make the hosts, and say how to open a shell on each")
    chosen = parser.parse_args()
    if chosen.shells:
        show_shells()
        return
    print("this machine$ akkordeon data mnist  # the hosts reach each other alone")
    if not chosen.dry:
        from akkordeon.datasets import fetch  # noqa: PLC0415 - brings torch

        fetch("mnist")
    with contextlib.ExitStack() as stack:
        play = None if chosen.dry else Play(stack.enter_context(Hosts(3)))
        for line in SCENARIO:
            print(f"host{line.host}$ {line.text}" + f"  # wait {line.wait}" * bool(line.wait), flush=True)
            if play is not None:
                play.type(line)
        if play is not None:
            play.leave()


if __name__ == "__main__":
    try:
        main()
    except HostsUnavailable as error:
        raise SystemExit(str(error)) from None
