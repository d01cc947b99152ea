"""Waits for what a network does, as long as it may take on this machine as busy as it is now."""

from collections.abc import Callable

from akkordeon import Network, testing
from tests.waiting import limit

__all__ = ["wait_until"]


def wait_until(network: Network, condition: Callable[[], object], *, seconds: float = 10.0, what: str = "it") -> None:
    """Do as `akkordeon.testing.wait_until`, with `seconds` as a quiet machine needs them."""
    testing.wait_until(network, condition, seconds=limit(seconds), what=what)
