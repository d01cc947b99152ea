"""Saves where a loader stands in its data, and brings it there again."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Sampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from akkordeon.errors import DataUnavailable
from akkordeon.messages.states import Mark

MARK_EVERY = 100
"""Batches from one mark to the next, where a loader can tell its state within an epoch."""

OWN_STATE, GENERATORS = "its own state_dict", "its random generators"
"""What tells where a loader stands."""


class LoaderState:
    """Saves and restores where a loader stands.

    Exactly for a loader that has `state_dict()` and `load_state_dict()`, for a list or tuple of batches, and for a
    `DataLoader` whose order depends on `torch.Generator`s alone. Any other loader begins its epoch again.

    Args:
        loader: any iterable.
        seed: of the shuffling of a `DataLoader` that has no generator of its own.
    """

    def __init__(self, loader: Iterable[object], seed: int) -> None:
        self._loader: Any = loader
        self._stateful = hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")
        self._kind = OWN_STATE if self._stateful else GENERATORS
        self._generators: list[torch.Generator] = []
        if isinstance(loader, DataLoader):
            self._generators = _generators(loader, torch.Generator().manual_seed(seed))

    def mark(self, epoch: int, index: int) -> Mark | None:
        """Return where the loader stands before a batch; None where it cannot tell, or it is too early to ask again."""
        if index and not (self._stateful and index % MARK_EVERY == 0):
            return None
        states = [self._loader.state_dict()] if self._stateful else [each.get_state() for each in self._generators]
        return Mark(epoch, index, [self._kind, *states], self._exact, self._length)

    def restore(self, mark: Mark) -> None:
        """Bring the loader to where it stood at a mark; one that is not exact stays at the beginning of its data.

        Raises:
            DataUnavailable: the mark is of a loader of another kind or length.
            Exception: anything that the loader raises when it is given its state.
        """
        kind, *saved = mark.state
        if kind != self._kind or (kind == GENERATORS and len(saved) != len(self._generators)):
            raise DataUnavailable(
                f"the loader is of another kind than the one that was saved: {kind} told where that one stood, and "
                f"{self._kind} would tell it of this one; use the same data, or start afresh"
            )
        if mark.length != self._length:
            raise DataUnavailable(
                f"the loader yields {self._length} batches in an epoch, and yielded {mark.length} when it was saved; "
                "use the same data and batch size, or start afresh"
            )
        if self._stateful:
            self._loader.load_state_dict(saved[0])
        elif mark.exact:
            for generator, state in zip(self._generators, saved, strict=True):
                generator.set_state(state)

    @property
    def _exact(self) -> bool:
        if self._stateful or isinstance(self._loader, list | tuple):
            return True
        return isinstance(self._loader, DataLoader) and all(map(_is_determined, _samplers(self._loader)))

    @property
    def _length(self) -> int | None:
        try:
            return len(self._loader)
        except TypeError:  # it has no length
            return None


def set_epoch(loader: Any, number: int) -> None:
    """Tell those of loader, samplers and data set that have `set_epoch` which epoch begins, from 0."""
    for part in {id(part): part for part in (loader, *_samplers(loader), getattr(loader, "dataset", None))}.values():
        if callable(tell := getattr(part, "set_epoch", None)):
            tell(number)


def _samplers(loader: Any) -> list[Any]:
    """Return what decides on the order of the samples."""
    if isinstance(data := getattr(loader, "dataset", None), IterableDataset):
        return [data]
    whole = getattr(loader, "batch_sampler", None)
    return [each for each in (getattr(loader, "sampler", None), whole, getattr(whole, "sampler", None)) if each]


def _is_determined(sampler: object) -> bool:
    """Whether the order of a sampler depends on its generator or epoch alone; a user's own sampler may keep more."""
    is_of_torch = type(sampler).__module__ in (Sampler.__module__, DistributedSampler.__module__)
    return is_of_torch and (
        isinstance(sampler, SequentialSampler | BatchSampler | DistributedSampler) or hasattr(sampler, "generator")
    )


def _generators(loader: "DataLoader[Any]", spare: torch.Generator) -> list[torch.Generator]:
    """Return the generators that a loader draws its order from, each once; parts that have none get the spare one.

    Without one of its own, a part would draw from torch's process-wide generator, which is left to the gates.
    """
    parts = [part for part in (loader, *_samplers(loader)) if hasattr(part, "generator")]
    for part in parts:
        if part.generator is None:
            part.generator = spare
    return list({id(part.generator): part.generator for part in parts}.values())
