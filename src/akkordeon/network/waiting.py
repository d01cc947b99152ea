"""Waits for a condition on the clock of an engine."""

import itertools
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TypeVar

from akkordeon.actor import Engine
from akkordeon.errors import NoAnswer

T = TypeVar("T")

_numbers = itertools.count(1)


def wait_until(engine: Engine, condition: Callable[[], T], *, seconds: float, pause: float) -> T | None:
    """Return what a condition returns as soon as that is true; None if it was not within the time limit.

    Args:
        engine: whose time passes.
        condition: is evaluated again and again, at least once.
        seconds: the limit.
        pause: seconds between two evaluations.
    """
    if found := condition():
        return found
    with closing(engine.inbox(f"waiting {next(_numbers)}")) as inbox:
        deadline = engine.now() + seconds
        while engine.now() < deadline:
            with suppress(NoAnswer):
                inbox.take(timeout=pause)
            if found := condition():
                return found
    return None
