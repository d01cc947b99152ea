"""Turns torch's own thread pool off: actors are the parallelism, so each computes on one thread."""

import threading
from typing import ClassVar

import torch


class OneThread:
    """Sets torch to one intra-op thread, for this thread and threads that start later, until closed.

    Several may be open, and close in any order: one that closes leaves the setting it found to the next one opened.
    """

    _lock = threading.Lock()
    _open: ClassVar[list["OneThread"]] = []

    def __init__(self) -> None:
        with self._lock:
            self._before = torch.get_num_threads()
            self._open.append(self)
        use_one_thread()

    def close(self) -> None:
        """Put the setting of this thread, and the default, back."""
        with self._lock:
            place = self._open.index(self)
            del self._open[place]
            if place < len(self._open):
                self._open[place]._before = self._before
            else:
                torch.set_num_threads(self._before)


def use_one_thread() -> None:
    """Let this thread compute on one intra-op thread.

    Each thread must set this for itself: torch applies the default only when it first splits up work, and a matrix
    product goes straight to a library that would use all cores.
    """
    torch.set_num_threads(1)
