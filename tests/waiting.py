"""Waiting for a network, on any engine."""

import time
from collections.abc import Callable

from akkordeon import Network
from akkordeon.engines import Stepped

SECONDS = 30


def wait_until(network: Network, holds: Callable[[], object]) -> None:
    """Ask again and again; where time is virtual and questions take none, let some pass in between."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        if isinstance(network._engine, Stepped):
            network._engine.run(seconds=0.001)
