"""Draws a sentinel's next batches from its loader ahead of demand, on a thread of its own.

The actor may block for as long as its loader does, so it has a thread of its own. It answers each batch that its
sentinel requests once: with the batch, the end of an epoch, or an error. After the last epoch it answers no more.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from typing_extensions import override

from akkordeon.actor import Actor, Context, Ended, Ref
from akkordeon.errors import DataUnavailable
from akkordeon.messages.states import Mark, Position
from akkordeon.sentinel.loader_state import LoaderState, set_epoch

_END = object()
"""Stands for the end of an iterator, whose items may be anything, None among them."""


@dataclass(frozen=True, slots=True)
class Draw:
    """From a sentinel, to its provider: prepare this many batches."""

    amount: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """From a provider, to its sentinel: a batch, as the loader yielded it.

    Args:
        epoch: from 1.
        item: the batch.
        index: in its epoch, from 0.
        mark: where the loader stood before this batch; with the first batch of each epoch, and now and then.
    """

    epoch: int
    item: object
    index: int = 0
    mark: Mark | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Exhausted:
    """From a provider, to its sentinel: all batches of an epoch have been drawn.

    Args:
        epoch: which.
        batches: how many it had.
        mark: where the loader stands now: before the first batch of the next epoch.
    """

    epoch: int
    batches: int
    mark: Mark | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class DrawFailed:
    """From a provider, to its sentinel: the loader raised."""

    error: Exception


class Provider(Actor):
    """Draws batches from a loader.

    Args:
        data: makes the loader, any iterable. Called once, or once per epoch if what it makes can be iterated only once.
        sentinel: gets the batches.
        epochs: the last epoch to draw; None for no end.
        seed: of a `DataLoader` that has no generator of its own; torch's process-wide one is left to the gates.
        position: where to begin; None is the first batch of the first epoch.
    """

    def __init__(
        self,
        data: Callable[[], Iterable[object]],
        sentinel: Ref,
        epochs: int | None,
        seed: int,
        position: Position | None = None,
    ) -> None:
        self._make = data
        self._sentinel = sentinel
        self._epochs = epochs
        self._seed = seed
        self._position = position
        self._loader: Iterable[object] | None = None
        self._loader_state: LoaderState  # since the first epoch
        self._iterator: Iterator[object] | None = None
        self._epoch = position.mark.epoch - 1 if position else 0
        self._batches = 0

    @override
    def receive(self, message: object, context: Context) -> object:
        if isinstance(message, Ended):
            context.stop(context.me)
        if isinstance(message, Draw):
            for _ in range(message.amount):
                if self._iterator is None and self._epoch == self._epochs:
                    break
                self._sentinel.tell(self._draw())
        return None

    def _draw(self) -> Drawn | Exhausted | DrawFailed:
        try:
            begins = self._iterator is None
            mark = self._begin_epoch() if begins else self._loader_state.mark(self._epoch, self._batches)
            assert self._iterator is not None
            item = next(self._iterator, _END)
            if item is _END:
                self._iterator = None
                return Exhausted(self._epoch, self._batches, self._loader_state.mark(self._epoch + 1, 0))
        except Exception as error:  # noqa: BLE001 - a loader may raise anything
            return DrawFailed(error)
        self._batches += 1
        return Drawn(self._epoch, item, self._batches - 1, mark)

    def _begin_epoch(self) -> Mark | None:
        self._epoch += 1
        self._batches = 0
        if self._loader is None:
            self._loader = self._make()
            self._loader_state = LoaderState(self._loader, self._seed)
        position, self._position = self._position, None
        exact = position is not None and position.mark.exact
        if position is not None:
            self._loader_state.restore(position.mark)
            self._batches = position.mark.index if exact else 0
        set_epoch(self._loader, self._epoch - 1)  # a mark from the end of an epoch knows the number of that one
        # The mark comes before `iter`, which draws from the generators that the loader shuffles with.
        mark = self._loader_state.mark(self._epoch, self._batches)
        self._iterator = iter(self._loader)
        if self._iterator is self._loader and not hasattr(self._loader, "state_dict"):
            self._loader = None  # an iterator that is used up after this epoch, so the next epoch needs another one
        if position is not None and exact:
            self._skip(position.index - position.mark.index)
        return mark

    def _skip(self, amount: int) -> None:
        assert self._iterator is not None
        for _ in range(amount):
            if next(self._iterator, _END) is _END:
                raise DataUnavailable(
                    f"the loader ended after batch {self._batches} of epoch {self._epoch}, and had more batches when "
                    "it was saved; use the same data, or start afresh"
                )
            self._batches += 1
