"""torch's own thread pool, kept out of the way: actors are the parallelism, so each computes on one thread."""

import torch

__all__ = ["OneThread", "use_one_thread"]


class OneThread:
    """Sets torch to one intra-op thread, for this thread and those it has not met yet, until closed."""

    def __init__(self) -> None:
        self._before = torch.get_num_threads()
        use_one_thread()

    def close(self) -> None:
        """Put the setting of this thread, and the default, back."""
        torch.set_num_threads(self._before)


def use_one_thread() -> None:
    """Let this thread compute on one intra-op thread.

    Each thread must say so for itself: torch takes over the default only when it first splits work up, and a matrix
    product goes straight to a library that would use all cores.
    """
    torch.set_num_threads(1)
