"""Shows a run folder on a page: what is there, and what is being added."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from akkordeon.views.frames import Frames
from akkordeon.views.reading import Tail

READ_EVERY = 0.2
"""Seconds between two looks at the file."""


@contextmanager
def followed(folder: Path) -> Iterator[Frames]:
    """Yield the frames of a run folder; they grow while the run goes on.

    Raises:
        RunUnreadable: there is no run in the folder.
    """
    tail, frames, over = Tail(folder), Frames(), threading.Event()
    frames.add(tail.read())

    def follow() -> None:
        while not over.wait(READ_EVERY):
            frames.add(tail.read())

    thread = threading.Thread(target=follow, name="akkordeon tail", daemon=True)
    thread.start()
    try:
        yield frames
    finally:
        over.set()
        thread.join()
        tail.close()
