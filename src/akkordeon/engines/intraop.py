"""torch's own thread pool, kept out of the way: actors are the parallelism, so each computes on one thread."""

import torch

__all__ = ["OneThread"]


class OneThread:
    """Sets torch to one intra-op thread until closed, then puts the caller's setting back.

    torch keeps the number per thread and hands its latest value to threads it has not met yet, so a worker that
    starts while this is open computes on one thread without saying so.
    """

    def __init__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)

    def close(self) -> None:
        """Put the setting back."""
        torch.set_num_threads(self._before)
