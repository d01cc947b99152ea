"""Networks on the one Ray cluster of all tests, and terminals of it in processes of their own."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from akkordeon.engines import Ray

MakeEngine = Callable[..., Ray]

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def make_engine(cluster: str) -> MakeEngine:
    """Makes an engine for a network of its own, with so many spare processes, and others begun at once."""

    def make(spares: int, first: int = 2) -> Ray:
        return Ray(cluster, join=True, name=f"{os.getpid()}-{next(_numbers)}", spares=spares, first=first)

    return make


class Driver:
    """A process that takes part in a network as it is told, until it is killed."""

    def __init__(self, engine: Ray, *words: str) -> None:
        command = [sys.executable, "-m", "tests.system.distributed.terminal", engine.address, engine.name, *words]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
        )

    def wait(self) -> None:
        """Wait until it takes part; the time limit of the test is its own."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def open_terminal() -> Iterator[Callable[..., Driver]]:
    opened: list[Driver] = []

    def open_terminal(engine: Ray, *words: str) -> Driver:
        opened.append(Driver(engine, *words))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.kill()
