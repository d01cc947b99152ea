"""Batches of any data set, in order or shuffled, with a position that can be saved and restored."""

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor


class Samples(Protocol):
    """Samples of any kind, from which a `Loader` makes batches."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return (x, target) of the samples with these indices, (B,) int64, as new tensors."""
        ...


class Loader:
    """Batches of samples; each iteration is an epoch, in a new order if `shuffle` is set.

    Its position can be saved and loaded::

        state = loader.state_dict()           # between two batches, any time
        other = Loader(samples, 64, ...)      # with the same arguments, perhaps in a new process
        other.load_state_dict(state)
        for batch in other: ...               # the batches that would have come next; later epochs are the same, too

    Before the first batch of an epoch, and after its last, a whole epoch comes next.

    Args:
        samples: of a data set.
        batch_size: samples per batch; the last batch may be smaller.
        shuffle: draw a new order for each epoch.
        seed: for the first order.

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
        self._skip = 0  # batches that the next epoch leaves out, after loading a state
        self._epoch_began = self._generator.get_state()
        self._given = 0  # batches given in that epoch

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return math.ceil(len(self._samples) / self._batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Begin an epoch of pairs (x, target)."""
        self._epoch_began = self._generator.get_state()
        self._given, self._skip = self._skip, 0
        num = len(self._samples)
        order = torch.randperm(num, generator=self._generator) if self._shuffle else torch.arange(num)
        return self._batches(torch.split(order, self._batch_size)[self._given :])

    def state_dict(self) -> dict[str, Any]:
        """Return the position: the generator's state at the beginning of the epoch, and the batches given since."""
        if self._given == len(self):
            return {"generator": self._generator.get_state(), "batch": 0, "batches": len(self)}
        return {"generator": self._epoch_began, "batch": self._given, "batches": len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a position in the next epoch.

        Args:
            state: of a loader with the same arguments.

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
