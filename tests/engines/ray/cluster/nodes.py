"""What tests of nodes share: a place of their own, processes that use a node, and a look at what is left of it."""

import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from akkordeon.engines import posix
from akkordeon.engines.ray.cluster import Address
from tests.waiting import wait_until

TIME_LIMIT = 40.0
"""Seconds for whatever is waited for."""

IMPORTS = "import os, sys; from pathlib import Path; from akkordeon.engines.ray.cluster import *"


@contextmanager
def own_place() -> Iterator[Path]:
    """A folder for temporary files, and in it that of all nodes; short, for sockets will lie there."""
    with tempfile.TemporaryDirectory(prefix="ak", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield Path(folder) / f"ak-{posix.user()}"


def free_address(host: str = "127.0.0.1") -> Address:
    """An address that nobody else takes meanwhile: below are ports of Ray's actors, above those of connections."""
    for port in random.sample(range(20000, 32000), 100):
        with suppress(OSError), socket.create_server((host, port)) as server:
            return Address(*server.getsockname())
    raise AssertionError("no port is free")


def wait_for(condition: Callable[[], bool]) -> bool:
    """Whether it comes to hold in time."""
    try:
        wait_until(condition, TIME_LIMIT, "it")
    except TimeoutError:
        return False
    return True


def keepers(place: Path) -> list[psutil.Process]:
    """The two processes that keep a node, the outer one first."""
    found = [each for each in psutil.process_iter() if is_keeper(each, place)]
    return sorted(found, key=lambda each: each.ppid() in {other.pid for other in found})


def is_keeper(process: psutil.Process, place: Path) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return "akkordeon.engines.ray.cluster.keeper" in words and any(str(place) in word for word in words)


def node_processes(place: Path) -> list[psutil.Process]:
    outer = keepers(place)[0]
    return [outer, *outer.children(recursive=True)]


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def all_gone(processes: list[psutil.Process], place: Path) -> bool:
    """Whether nothing remains of a node, after a while."""
    return wait_for(lambda: not any(map(is_alive, processes)) and not list(place.iterdir()))


def listening(process: psutil.Process) -> list[tuple[str, str]]:
    """The addresses at which a process listens, each with its name."""
    found = process.net_connections(kind="tcp")
    return [(process.name(), each.laddr.ip) for each in found if each.status == psutil.CONN_LISTEN]


class User:
    """A process that runs some Python with `node` to use; it prints one line, and ends when its input does."""

    def __init__(self, how: str, code: str = "print('up', flush=True)") -> None:
        text = f"{IMPORTS}\nnode = {how}\n{code}\nsys.stdin.read()\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
        )

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def __enter__(self) -> "User":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()
