"""Does something again and again beside the main thread, such as saving."""

import threading
from collections.abc import Callable
from typing import Self


class Every:
    """While entered, calls `action` every so many seconds in a daemon thread; never after it was left.

    Args:
        seconds: between the end of one call and the start of the next.
        action: must not raise.
        patience: seconds that leaving waits for a call under way; None is for ever.
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

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def over(self) -> bool:
        """Whether it was left."""
        return self._over.is_set()

    def stop(self) -> None:
        """Start no further call, and wait for the one under way, unless that is the caller."""
        self._over.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(self._patience)

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self._action()
