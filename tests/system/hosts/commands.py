"""A command that runs on a host."""

import contextlib
import os
import signal
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.waiting import wait_until

__all__ = ["Command"]

START = 10.0
"""Seconds that a command has to enter its host."""

TAIL = 2000
"""Characters of an output that an error shows."""


class Command:
    """A command, and what it has written so far. Its outputs go to files that have no name, so none is left behind.

    Args:
        title: what it is called in errors.
        entering: the program with arguments that enters the host; it has the command as its only child.
        environment: all variables.
    """

    def __init__(self, title: str, entering: Sequence[str], environment: Mapping[str, str]) -> None:
        self._title = title
        self._stdout = _Output()
        self._stderr = _Output()
        self._process = subprocess.Popen(
            entering,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._stdout.file,
            stderr=self._stderr.file,
            start_new_session=True,  # a Ctrl-C is for who runs the tests, who ends the hosts then
        )

    @property
    def stdout(self) -> str:
        """What it has written to its standard output."""
        return self._stdout.text

    @property
    def stderr(self) -> str:
        """What it has written to its standard error."""
        return self._stderr.text

    @property
    def returncode(self) -> int | None:
        """Its exit code, as `subprocess` has it; None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float) -> int:
        """Wait until it has ended, and return its exit code.

        Raises:
            TimeoutError: if it still runs after `timeout` seconds.
        """
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self._title} still runs after {timeout:g} s; {self._tails()}") from None

    def wait_for(self, text: str, timeout: float) -> float:
        """Wait until it has written a text to its standard output; return how many seconds that took.

        Raises:
            TimeoutError: if it has not within `timeout` seconds, more on a slow machine.
            RuntimeError: if it has ended without.
        """

        def found_or_ended() -> bool:
            ended = self.returncode is not None  # asked first: what it has written by its end counts
            return text in self.stdout or ended

        try:
            took = wait_until(found_or_ended, timeout, f"{text!r} from {self._title}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self._tails()}") from None
        if text not in self.stdout:
            raise RuntimeError(f"{self._title} ended with {self.returncode} before {text!r}; {self._tails()}")
        return took

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command alone; to one that has ended, nothing."""
        with contextlib.suppress(ProcessLookupError):
            for pid in self._started():
                os.kill(pid, number)

    def kill(self) -> None:
        """End the command, and whatever it started that has not left its session, at once."""
        with contextlib.suppress(ProcessLookupError):
            for pid in self._started():
                os.killpg(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def _started(self) -> list[int]:
        wait_until(lambda: self._inner() or self.returncode is not None, START, f"{self._title} to start")
        return self._inner()

    def _inner(self) -> list[int]:
        pid = self._process.pid
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            # What enters the host is a child as well, and is the command as soon as it leads a session of its own.
            return [each for each in children if os.getpgid(each) == each]
        return []

    def _tails(self) -> str:
        return f"its outputs end with {self.stdout[-TAIL:]!r} and {self.stderr[-TAIL:]!r}"


class _Output:
    def __init__(self) -> None:
        self.file = os.memfd_create("output")
        weakref.finalize(self, os.close, self.file)

    @property
    def text(self) -> str:
        # At a position of its own: the command writes at the one that both share.
        return os.pread(self.file, os.fstat(self.file).st_size, 0).decode(errors="replace")
