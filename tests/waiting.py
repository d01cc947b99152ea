"""Waits on conditions, with time limits that grow with how slow this machine is."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cache

__all__ = ["limit", "slowness", "wait_until"]

PAUSE = 0.02
"""Seconds between two looks at a condition."""

REFERENCE = 0.2
"""Seconds in which a quiet machine starts a Python process that imports `asyncio`."""

MOST = 10.0
"""However slow the machine is, a test that hangs has to end."""


def slowness() -> float:
    """Return how many times slower this machine is than a quiet one: at least 1, at most `MOST`.

    The larger of two figures: how long a process took to start when it was first asked for, and how many processes want
    each core now.
    """
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(max(1.0, _measured(), load), MOST)


@cache
def _measured() -> float:
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import asyncio"], check=True)
    return (time.monotonic() - start) / REFERENCE


def limit(seconds: float) -> float:
    """Return the seconds to allow here and now for what has `seconds` on a quiet machine."""
    return seconds * slowness()


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Wait until a condition holds; return after how many seconds it did.

    Args:
        condition: what should become true.
        seconds: that it has on a quiet machine.
        what: is waited for, for the error.

    Raises:
        TimeoutError: it does not hold in time.
    """
    start = time.monotonic()
    allowed = limit(seconds)
    pause = threading.Event()
    while not condition():
        if time.monotonic() - start > allowed:
            raise TimeoutError(f"waited {allowed:g} s in vain for {what}")
        pause.wait(PAUSE)
    return time.monotonic() - start
