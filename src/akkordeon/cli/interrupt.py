"""Handles Ctrl-C, SIGTERM and SIGHUP: the first lets the work end in order, a second one exits at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else []))

HUNG_UP = 129
"""Exit code after SIGHUP."""


class Stop(BaseException):
    """The user wants to stop; `code` is the exit code for that. Like `KeyboardInterrupt`, it is not an `Exception`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Interrupts:
    """While entered, the first signal raises `Stop` in the main thread, and a second one ends the process.

    Within `gently`, the first signal raises nothing: an exception at an arbitrary point could leave a mailbox or
    a file half written. Another thread then ends the work, and the main thread goes on until it is done.

    Only the main thread can catch signals; entered in another one, this does nothing.

    Attributes:
        code: the exit code once a signal came: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP; None before.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._gentle = False
        self._wake = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):  # nohup ignores SIGHUP, which must stay so
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @contextmanager
    def gently(self, finish: Callable[[], None]) -> Iterator[None]:
        """Let the first signal call `finish` in another thread; leaving waits for it."""
        thread = threading.Thread(target=self._wait, args=[finish], name="akkordeon interrupts", daemon=True)
        thread.start()
        self._gentle = True
        self.renew()
        try:
            yield
        finally:
            self._gentle = False
            self._wake.set()
            thread.join()

    def renew(self) -> None:
        """Install the handlers again: Ray replaces them when a process joins a cluster."""
        for number in self._before:
            signal.signal(number, self._handle)

    def _wait(self, finish: Callable[[], None]) -> None:
        self._wake.wait()
        if self.code is not None:
            finish()

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signal.signal wants it
        code = 128 + number
        if code == HUNG_UP:
            _write_nowhere()
        if self.code is not None:
            os._exit(code)
        self.code = code
        if not self._gentle:
            raise Stop(code)
        self._wake.set()


def leave(code: int) -> NoReturn:
    """End this process at once."""
    with suppress(OSError):  # the reader has left
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _write_nowhere() -> None:
    """Discard output to a terminal that is gone, rather than raise errors."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        if os.isatty(output):
            os.dup2(nowhere, output)
    os.close(nowhere)
