"""torch's own thread pool, kept out of the way: actors are the parallelism, so each computes on one thread."""

import threading

import torch

__all__ = ["OneThread", "use_one_thread"]


class OneThread:
    """Sets torch to one intra-op thread, for this thread and those it has not met yet, until the last one is closed."""

    _lock = threading.Lock()
    _open = 0
    _before = 1

    def __init__(self) -> None:
        with OneThread._lock:
            if OneThread._open == 0:
                OneThread._before = torch.get_num_threads()
            OneThread._open += 1
        use_one_thread()

    def close(self) -> None:
        """Put the setting of this thread, and the default, back, once no other needs them."""
        with OneThread._lock:
            OneThread._open -= 1
            if OneThread._open == 0:
                torch.set_num_threads(OneThread._before)


def use_one_thread() -> None:
    """Let this thread compute on one intra-op thread.

    Each thread must say so for itself: torch takes over the default only when it first splits work up, and a matrix
    product goes straight to a library that would use all cores.
    """
    torch.set_num_threads(1)
