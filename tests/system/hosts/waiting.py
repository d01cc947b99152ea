"""Waiting for a condition, with a deadline."""

import threading
import time
from collections.abc import Callable

__all__ = ["wait_until"]

PAUSE = 0.02
"""Seconds between two looks."""


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Wait until a condition holds; return after how many seconds it did.

    Args:
        condition: what is to be true.
        seconds: that it has.
        what: is waited for, for the error.

    Raises:
        TimeoutError: if it does not hold in time.
    """
    start = time.monotonic()
    pause = threading.Event()
    while not condition():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        pause.wait(PAUSE)
    return time.monotonic() - start
