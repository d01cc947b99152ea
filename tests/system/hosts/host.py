"""One host: what runs there, what it listens on, its files, and what can happen to it."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

from tests.system.hosts.commands import Command
from tests.system.hosts.hub import Hub
from tests.system.hosts.namespaces import Namespaces
from tests.system.hosts.needs import program
from tests.waiting import limit

__all__ = ["HOME", "Host", "Process", "Socket"]

HOME = "/tmp/home"  # noqa: S108 - a host's own
"""Of the user of a host."""

USERS = re.compile(r'"[^"]*",pid=(\d+)')


class Process(NamedTuple):
    """A process of a host.

    Args:
        pid: as that host counts.
        command: its command line.
    """

    pid: int
    command: str


class Socket(NamedTuple):
    """A socket that listens for TCP.

    Args:
        pid: of a process that has it, as that host counts; 0 if none has.
        address: that it listens on; "*", "0.0.0.0" or "[::]" for all of them.
        port: likewise.
    """

    pid: int
    address: str
    port: int


class Host:
    """A host that is on, until `kill`.

    Args:
        name: one that can be told from those of all others, and be given to an interface.
        address: with the length of its network's prefix.
        hub: what it is plugged into.
        shared: folders that it has in common with this machine; of the others it has all but those that are private.
        known: content of its /etc/hosts.
    """

    def __init__(self, name: str, address: str, hub: Hub, shared: Sequence[Path], known: str) -> None:
        self.name = name
        self.address = address.partition("/")[0]
        self._full_address = address
        self._hub = hub
        self._shared = shared
        self._known = known
        self._commands: list[Command] = []
        self._turn_on()

    @property
    def is_on(self) -> bool:
        """Whether it has neither been killed nor otherwise ended."""
        return self._namespaces.are_there

    @property
    def shell(self) -> str:
        """What to type in a terminal of this machine, as root, for a shell there."""
        variables = [f"{key}={value}" for key, value in _environment().items()]
        return shlex.join([*self._entering(), *variables, os.environ.get("SHELL", "/bin/sh")])

    def start(self, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Command:
        """Start a command there, in the folder that this process is in, as one who has just logged in.

        Args:
            command: program and arguments.
            env: variables in addition to PATH, PYTHONPATH, LANG and HOME.

        Raises:
            RuntimeError: if the host is off.
        """
        started = self._enter(command, env)
        self._commands.append(started)
        return started

    def run(
        self, command: Sequence[str | Path], env: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> CompletedProcess[str]:
        """Run a command there as `start` does, and return its exit code and what it wrote.

        Args:
            command: program and arguments.
            env: variables in addition.
            timeout: seconds that it has; None is half a minute, more on a slow machine.

        Raises:
            RuntimeError: if the host is off.
            TimeoutError: if it takes longer; it is ended then.
        """
        running = self._enter(command, env)
        try:
            code = running.wait(limit(30.0) if timeout is None else timeout)
        finally:
            running.kill()
        return CompletedProcess(command, code, running.stdout, running.stderr)

    def path(self, path: str | Path) -> Path:
        """Return where this machine sees a file of the host, as long as that is on."""
        self._check_is_on()
        return Path(f"/proc/{self._namespaces.pid}/root") / str(path).lstrip("/")

    def processes(self) -> list[Process]:
        """Return what runs there, without the process that holds the host; of one that is off, nothing."""
        found = []
        for entry in self.path("/proc").glob("[0-9]*") if self.is_on else ():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has ended meanwhile
                continue
            if entry.name != "1" and any(words):
                found.append(Process(int(entry.name), b" ".join(words).decode(errors="replace").strip()))
        return sorted(found)

    def sockets(self) -> list[Socket]:
        """Return what listens there."""
        lines = self.run([program("ss"), "-Hltnp"]).stdout.splitlines()
        return sorted(socket for line in lines for socket in _sockets(line))

    def cut(self) -> None:
        """Cut it off from all others, silently: whatever is sent either way is lost, and nobody is told."""
        self._hub.shut(self.name)

    def heal(self) -> None:
        """Undo `cut`."""
        self._hub.open(self.name)

    def kill(self) -> None:
        """End all that runs there at once, as a power cut: nobody hears of it."""
        if self.is_on:
            self._hub.unplug(self.name)  # first, or the kernel would say goodbye on each connection
        self._namespaces.close()
        for command in self._commands:
            command.kill()
        self._commands.clear()

    def boot(self) -> None:
        """Turn it on again after `kill`: nothing runs there, and what was in its private folders is gone."""
        if not self.is_on:
            self._turn_on()

    def _turn_on(self) -> None:
        self._namespaces = Namespaces.of_a_host(self.name, HOME, self._shared, self._known)
        try:
            self._hub.plug(self.name, self._namespaces.pid, self._full_address)
        except BaseException:
            self._namespaces.close()
            raise

    def _enter(self, command: Sequence[str | Path], env: Mapping[str, str] | None) -> Command:
        words = [str(word) for word in command]
        entering = [*self._entering(), "--default-signal", program("setsid")]
        return Command(f"{words} on {self.name}", [*entering, *words], _environment() | dict(env or {}))

    def _entering(self) -> list[str]:
        self._check_is_on()
        spaces = [f"--target={self._namespaces.pid}", "--net", "--mount", "--pid", "--ipc", "--uts"]
        return [program("nsenter"), *spaces, "--", program("env"), f"--chdir={Path.cwd()}"]

    def _check_is_on(self) -> None:
        if not self.is_on:
            raise RuntimeError(f"{self.name} ({self.address}) is off; boot() turns it on again")


def _environment() -> dict[str, str]:
    here = {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": HOME, **here}


def _sockets(line: str) -> list[Socket]:
    local = line.split()[3]
    address, _, port = local.rpartition(":")
    pids = {int(pid) for pid in USERS.findall(line)} or {0}
    return [Socket(pid, address, int(port)) for pid in pids]
