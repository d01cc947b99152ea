"""Calls the command line: in this process where it is enough, in one of its own where signals and terminals matter."""

import atexit
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from typer.testing import CliRunner, Result

from akkordeon.cli import app
from tests import waiting

__all__ = ["LIMIT", "RECIPE", "Running", "call", "lines_of", "running", "write_recipe"]

LIMIT = 30.0
"""Seconds that a process has for whatever is waited for, on a quiet machine."""

RECIPE = '''
"""Two gates that learn whether the first of four numbers is positive."""

from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak

loss = cross_entropy
metrics = {"accuracy": ak.accuracy}
VALIDATE_EVERY = 3600.0  # not beside the training: how often that is would depend on the machine


def gates(lr: float = 0.1, width: int = 8, bias: bool = True, kind: Literal["relu", "tanh"] = "relu") -> list[ak.Gate]:
    between = nn.ReLU() if kind == "relu" else nn.Tanh()
    stem = nn.Sequential(nn.Linear(4, width, bias=bias), between)
    return [ak.Gate("stem", stem, partial(SGD, lr=lr)), ak.Gate("head", nn.Linear(width, 2), partial(SGD, lr=lr))]


def batches(split, take=slice(None), batch_size: int = 20, notes: Path | None = None):
    generator = torch.Generator().manual_seed(len(split))
    x = torch.randn(200, 4, generator=generator)[take]
    if notes is not None:
        with notes.open("a") as file:
            print(split, len(x), batch_size, file=file)
    return list(zip(x.split(batch_size), (x[:, 0] > 0).long().split(batch_size)))
'''

RUNS = tempfile.TemporaryDirectory(prefix="akkordeon-runs-")
"""Where run folders are made that no test names."""

atexit.register(RUNS.cleanup)

# A shell may start a test run with Ctrl-C ignored, which processes inherit; and whoever runs the tests may have set up
# this process in other ways. Here it is as in a terminal.
DRIVER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from akkordeon.cli import main
main()
"""


def write_recipe(folder: Path, text: str = RECIPE, name: str = "mine.py") -> Path:
    """Put a recipe into a folder."""
    path = folder / name
    path.write_text(text)
    return path


def call(*arguments: object, environment: Mapping[str, str] | None = None) -> Result:
    """Call the command line in this process."""
    plain = {"COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb", "AKKORDEON_RUNS": RUNS.name}
    environment = plain | dict(environment or {})
    return CliRunner().invoke(app, [str(each) for each in arguments], prog_name="akkordeon", env=environment)


class Running:
    """A process of the command line, and what it has written so far.

    While one is waited for, all are read: a pipe holds 64 KB, and whoever writes more would wait.
    """

    files: ClassVar[dict[int, tuple["Running", str]]] = {}
    """All that can be read."""

    def __init__(self, process: subprocess.Popen[bytes], outputs: Mapping[str, int], limit: float = LIMIT) -> None:
        self.process = process
        self.limit = limit
        self.written = dict.fromkeys(outputs, "")
        self.files.update({file: (self, name) for name, file in outputs.items()})

    def wait_for(self, text: str, name: str = "stdout") -> None:
        """Wait until a text was written."""
        deadline = self._deadline()
        while text not in self.written[name]:
            if not (self._is_open and time.monotonic() < deadline):
                ends = {each: came[-1000:] for each, came in self.written.items()}
                raise AssertionError(f"waited for {text!r} on {name}, and what came ends with {ends}")
            self._read(deadline)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self.process.send_signal(number)

    def forget(self, *names: str) -> None:
        """Read some outputs no more."""
        for file in [file for file, (run, name) in self.files.items() if run is self and name in names]:
            del self.files[file]

    def end(self) -> int:
        """Wait for the end, and return the exit code."""
        deadline = self._deadline()
        while self._is_open and time.monotonic() < deadline:
            self._read(deadline)
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def _deadline(self) -> float:
        return time.monotonic() + waiting.limit(self.limit)

    @property
    def _is_open(self) -> bool:
        return any(run is self for run, _ in self.files.values())

    def _read(self, deadline: float) -> None:
        ready, _, _ = select.select(list(self.files), [], [], max(0.0, deadline - time.monotonic()))
        for file in ready:
            run, name = self.files[file]
            try:
                found = os.read(file, 65536)
            except OSError:  # how a pseudo-terminal says that nobody writes to it any more
                found = b""
            if found:
                run.written[name] += found.decode(errors="replace")
            else:
                run.forget(name)


@contextmanager
def running(*arguments: object, terminal: bool = False, limit: float = LIMIT, **environment: str) -> Iterator[Running]:
    """Start the command line in a session of its own; whatever is left of it is ended.

    Args:
        arguments: of the command line.
        limit: seconds that it has for whatever is waited for.
        terminal: let it write to a pseudo-terminal, all as "stdout", instead of to pipes.
        environment: variables in addition.
    """
    command = [sys.executable, "-c", DRIVER, *(str(each) for each in arguments)]
    known = {
        key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "TERM", "AKKORDEON_DEBUG")
    }
    known |= {"PYTHONUNBUFFERED": "1", "TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    known |= {"AKKORDEON_RUNS": RUNS.name} | environment
    ours, theirs = os.openpty() if terminal else (None, subprocess.PIPE)
    errors = theirs if terminal else subprocess.PIPE
    with subprocess.Popen(command, stdout=theirs, stderr=errors, start_new_session=True, env=known) as process:
        if ours is not None:
            os.close(theirs)
            outputs = {"stdout": ours}
        else:
            assert process.stdout is not None
            assert process.stderr is not None
            outputs = {"stdout": process.stdout.fileno(), "stderr": process.stderr.fileno()}
        run = Running(process, outputs, limit)
        try:
            yield run
        finally:
            run.forget(*outputs)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            if ours is not None:
                os.close(ours)


def lines_of(text: str) -> list[str]:
    """Return the lines that say something."""
    return [line for line in text.splitlines() if line.strip()]
