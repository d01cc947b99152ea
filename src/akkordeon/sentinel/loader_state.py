"""Where a loader stands in its data, and how to bring it there again."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Sampler, SequentialSampler

from akkordeon.errors import DataUnavailable
from akkordeon.messages.states import Mark

STRIDE = 100
"""Batches from one mark to the next, where a loader can tell its state within an epoch."""


OWN, GENERATORS = "its own state_dict", "its random generators"
"""What tells where a loader stands."""


class LoaderState:
    """Tells where a loader stands, and puts it there.

    Exactly so for a loader that has `state_dict()` and `load_state_dict()`, for a list or tuple of batches, and for a
    `DataLoader` whose order hangs on `torch.Generator`s alone. Of others nothing is known: after a return, they begin
    their epoch again.

    Args:
        loader: any iterable.
        seed: of the shuffling of a `DataLoader` that has no generator of its own.
    """

    def __init__(self, loader: Iterable[object], seed: int) -> None:
        self._loader: Any = loader
        self._stateful = hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")
        self._generators: list[torch.Generator] = []
        if isinstance(loader, DataLoader):
            self._generators = list(_generators(loader, torch.Generator().manual_seed(seed)))

    def mark(self, epoch: int, index: int) -> Mark | None:
        """Return where the loader stands before a batch; None where it cannot tell, or it is too early to ask again."""
        if index and not (self._stateful and index % STRIDE == 0):
            return None
        return Mark(epoch, index, self._state(), self._exact, self._length)

    def put(self, mark: Mark) -> None:
        """Bring the loader to where it stood at a mark, as far as it can be brought there.

        Raises:
            DataUnavailable: it is of another kind than the one that the mark tells of.
            Exception: whatever it raises when it is given its state.
        """
        kind, *saved = mark.state
        if kind != self._kind or (kind == GENERATORS and len(saved) != len(self._generators)):
            raise DataUnavailable(
                f"the loader is of another kind than the one that was saved: that one was told by {kind}, and this one "
                f"is by {self._kind}; give it the same data, or begin anew"
            )
        if mark.length != self._length:
            raise DataUnavailable(
                f"the loader yields {self._length} batches in an epoch, and yielded {mark.length} when it was saved; "
                "give it the same data and batch size, or begin anew"
            )
        if self._stateful:
            self._loader.load_state_dict(saved[0])
        elif mark.exact:
            for generator, state in zip(self._generators, saved, strict=True):
                generator.set_state(state)

    def _state(self) -> list[Any]:
        if self._stateful:
            return [self._kind, self._loader.state_dict()]
        return [self._kind, *(generator.get_state() for generator in self._generators)]

    @property
    def _kind(self) -> str:
        return OWN if self._stateful else GENERATORS

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


def _samplers(loader: "DataLoader[Any]") -> Iterator[object]:
    if isinstance(loader.dataset, IterableDataset):
        yield loader.dataset
        return
    yield from (s for s in (loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None)) if s)


def _is_determined(sampler: object) -> bool:
    """Whether the order of a sampler hangs on nothing but its generator."""
    ours = type(sampler).__module__ == Sampler.__module__
    return ours and (isinstance(sampler, SequentialSampler | BatchSampler) or hasattr(sampler, "generator"))


def _generators(loader: "DataLoader[Any]", spare: torch.Generator) -> Iterator[torch.Generator]:
    """Yield the generators that a loader draws its order from; those it lacks become the spare one.

    torch's process-wide generator is left to the gates.
    """
    seen: list[torch.Generator] = []
    for part in (loader, *_samplers(loader)):
        generator = getattr(part, "generator", None)
        if generator is None and hasattr(part, "generator"):
            setattr(part, "generator", generator := spare)  # noqa: B010 - which samplers have one is not in their type
        if generator is not None and all(generator is not other for other in seen):
            seen.append(generator)
            yield generator
