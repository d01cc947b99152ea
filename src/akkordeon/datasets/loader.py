"""Batches of any data set, in order or shuffled; a loader can tell where it is, and go on from there."""

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor


class Samples(Protocol):
    """What a loader makes batches of."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return (x, target) of the samples with these numbers, (B,) int64, as new tensors."""
        ...


class Loader:
    """Batches of samples; can be iterated again and again, each time in another order if `shuffle` is set.

    Where it is can be saved and loaded::

        state = loader.state_dict()           # between two batches, any time
        other = Loader(samples, 64, ...)      # made as the first one was, as in a new process
        other.load_state_dict(state)
        for batch in other: ...               # the batches that would have come next; later epochs are the same, too

    Before the first batch of an epoch, and after its last, what comes next is a whole epoch.

    Args:
        samples: what to make batches of.
        batch_size: samples per batch; the last one may be smaller.
        shuffle: draw a new order for each epoch.
        seed: of the first order.

    Raises:
        ValueError: the batch size is not positive.
    """

    def __init__(self, samples: Samples, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self._samples = samples
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._generator = torch.Generator().manual_seed(seed)
        self._skip = 0  # batches that the next epoch is to leave out: a state was loaded
        self._epoch_began = self._generator.get_state()
        self._given = 0  # batches of the epoch that began then

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return math.ceil(len(self._samples) / self._batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Begin an epoch: pairs (x, target)."""
        self._epoch_began = self._generator.get_state()
        self._given, self._skip = self._skip, 0
        num = len(self._samples)
        order = torch.randperm(num, generator=self._generator) if self._shuffle else torch.arange(num)
        return self._batches(torch.split(order, self._batch_size)[self._given :])

    def state_dict(self) -> dict[str, Any]:
        """Return where it is: the generator at the beginning of the epoch, and how many of its batches were given."""
        if self._given == len(self):
            return {"generator": self._generator.get_state(), "batch": 0, "batches": len(self)}
        return {"generator": self._epoch_began, "batch": self._given, "batches": len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next epoch begin where the loader was that this state is of.

        Raises:
            ValueError: that loader had another number of batches.
        """
        if state["batches"] != len(self):
            raise ValueError(
                f"the state is of a loader with {state['batches']} batches per epoch, and this one has {len(self)}; "
                "use the same samples and batch size"
            )
        self._generator.set_state(state["generator"])
        self._epoch_began = self._generator.get_state()
        self._given = self._skip = state["batch"]

    def _batches(self, orders: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in orders:
            batch = self._samples.batch(rows)
            self._given += 1
            yield batch
