"""Something done again and again beside the main thread."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Every"]


class Every:
    """While entered, calls `action` every so many seconds in a daemon thread; never after it was left.

    Args:
        seconds: between the end of one call and the beginning of the next.
        action: must not raise.
        patience: how many seconds leaving waits for a call that is under way; None is for ever.
    """

    def __init__(self, seconds: float, action: Callable[[], None], *, patience: float | None = None) -> None:
        self._seconds = seconds
        self._action = action
        self._patience = patience
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="akkordeon every", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def over(self) -> bool:
        """Whether it was left."""
        return self._over.is_set()

    def stop(self) -> None:
        """Begin no further call, and wait for the one under way, if it is not our own."""
        self._over.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(self._patience)

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self._action()
