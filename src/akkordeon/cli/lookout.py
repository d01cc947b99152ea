"""Whether a network is still there, asked again and again while it is used."""

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from akkordeon.cli.reach import look
from akkordeon.cli.reaching import ReachOptions
from akkordeon.cluster import Cause
from akkordeon.errors import TokenUnusable, Unreachable
from akkordeon.cli.every import Every

__all__ = ["Lookout"]

AGAIN = 2.0
"""Seconds between two looks."""

SILENCE = 10.0
"""Seconds without an answer after which a network is taken for gone; Ray would end this process after 60, unasked."""


class Lookout:
    """While entered, looks whether the network still answers; once it does not, says so and ends this process.

    Nothing gentler would do: whatever waits for Ray then, waits for a minute.

    Args:
        options: which network.
        tell: takes the error.
    """

    def __init__(self, options: ReachOptions, tell: Callable[[Exception], None]) -> None:
        self._options = options
        self._tell = tell
        self._code: int | None = None
        self._answered = time.monotonic()
        self._every = Every(AGAIN, self._look, patience=0.0)

    def leaving(self, code: int) -> None:
        """From now on, end without a word, with this exit code: what there is to say has been said."""
        self._code = code

    def __enter__(self) -> Self:
        if self._options.ray_address is None:
            self._answered = time.monotonic()
            self._every.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._every.stop()

    def _look(self) -> None:
        try:
            look(self._options)
        except TokenUnusable:
            return  # the file has changed; what is connected stays so
        except Unreachable as error:
            if error.cause != Cause.REFUSED and time.monotonic() - self._answered < SILENCE:
                return
            if not self._every.over:
                self._end(error)
        self._answered = time.monotonic()

    def _end(self, error: Unreachable) -> None:
        if self._code is None:
            self._tell(Unreachable(f"the network is gone: {error}", error.cause))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(1 if self._code is None else self._code)
