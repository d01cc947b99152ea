"""Counts calls of Python functions, and of functions in C, over all threads and by kind of turn and computation.

Counts do not depend on how busy the machine is, so they show a cost of one call that no clock would. A function in C is
counted where Python code calls it by name; operators and `with` are not.
"""

import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

from typing_extensions import override

from benchmarks.common import watched
from benchmarks.common.watched import WatchedThreads


class Calls(NamedTuple):
    """Numbers of calls.

    Args:
        python: of functions written in Python.
        c: of functions written in C, by functions written in Python.
    """

    python: float
    c: float

    def __add__(self, other: tuple[float, ...]) -> "Calls":  # type: ignore[override]
        return Calls(self.python + other[0], self.c + other[1])


NONE = Calls(0, 0)
OWN = {__file__, watched.__file__}
"""Files whose functions measure, and are not counted."""


class Counter:
    """Counts the calls of each thread. A profile function: see `counting`."""

    def __init__(self) -> None:
        self._seen = _Seen()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Take in an event of `sys.setprofile`."""
        if frame.f_code.co_filename in OWN:
            return
        if event == "call":
            self._seen.python += 1
        elif event == "c_call":
            self._seen.c += 1

    def take(self) -> Calls:
        """Return the calls of this thread since the last time."""
        seen = Calls(self._seen.python, self._seen.c)
        self._seen.python = self._seen.c = 0
        return seen


class _Seen(threading.local):
    python = 0
    c = 0


@contextmanager
def counting(counter: Counter) -> Iterator[None]:
    """Count in this thread, and in all that start meanwhile, until they end."""
    threading.setprofile(counter)
    sys.setprofile(counter)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


class CountedThreads(WatchedThreads):
    """The threads engine, counted: make it while `counting`.

    Attributes:
        calls: by "turn" or "work", actor, and kind of message; of all turns while `counts` is set.
    """

    def __init__(self, workers: int, counter: Counter) -> None:
        self.calls: defaultdict[tuple[str, str, str], Calls] = defaultdict(lambda: NONE)
        self._counter = counter
        super().__init__(workers)

    @override
    def note(self, what: str, name: str, kind: str, began: float) -> float:
        calls = self._counter.take()
        if self.counts:
            self.calls[what, name, kind] += calls
        return super().note(what, name, kind, began)
