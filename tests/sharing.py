"""What is slow to make is shared by tests until one of them fails: the next test gets a new one."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Generic, TypeVar

import pytest

__all__ = ["Shared", "has_failed", "note"]

T = TypeVar("T")

FAILED = pytest.StashKey[bool]()


def note(item: pytest.Item, report: pytest.TestReport) -> None:
    """Remember whether a test has failed."""
    item.stash[FAILED] = has_failed(item) or report.failed


def has_failed(item: pytest.Item) -> bool:
    """Whether a test has failed so far."""
    return item.stash.get(FAILED, False)


class Shared(Generic[T]):
    """One thing for all tests of a module, as long as they pass.

    Args:
        make: makes it, and takes it down on leaving.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[T]]) -> None:
        self._make = make
        self._stack = ExitStack()
        self._made: list[T] = []

    @contextmanager
    def lend(self, item: pytest.Item) -> Iterator[T]:
        """Give it to a test; take it down after one that failed, since what that left in it would fail others."""
        if not self._made:
            self._made.append(self._stack.enter_context(self._make()))
        yield self._made[0]
        if has_failed(item):
            self.close()

    def close(self) -> None:
        """Take it down."""
        self._made.clear()
        self._stack.close()
