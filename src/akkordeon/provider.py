"""What prepares a sentinel's next batches ahead of demand: an actor, and the shelf where its sentinel keeps them.

The actor may block for as long as its loader does, so it has a thread of its own. It prepares as many batches as its
sentinel asks for, and answers each of these wishes once: with a batch, the end of an epoch, or an error; after the last
epoch it answers none.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import torch
from torch.utils.data import DataLoader

from akkordeon.actor import Actor, Context, Ended, Ref
from akkordeon.messages import Draw, DrawFailed, Drawn, Exhausted

__all__ = ["Provider", "Shelf"]


class Provider(Actor):
    """Draws batches from a loader.

    Args:
        data: makes the loader, any iterable. Called once, or once per epoch if what it makes can be iterated only once.
        sentinel: who gets the batches.
        epochs: how many epochs to draw; None for no end.
        seed: of a `DataLoader` that has no generator of its own; torch's process-wide one is left to the gates.
    """

    def __init__(self, data: Callable[[], Iterable[object]], sentinel: Ref, epochs: int | None, seed: int) -> None:
        self._make = data
        self._sentinel = sentinel
        self._epochs = epochs
        self._seed = seed
        self._loader: Iterable[object] | None = None
        self._iterator: Iterator[object] | None = None
        self._epoch = 0
        self._batches = 0

    def receive(self, message: object, context: Context) -> object:
        """Draw as many batches as asked for; end with the sentinel."""
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
            if self._iterator is None:
                self._iterator = self._begin_epoch()
            item = next(self._iterator, self)  # itself: nothing that a loader could yield
        except Exception as error:  # noqa: BLE001 - a loader may raise anything
            return DrawFailed(error)
        if item is self:
            self._iterator = None
            return Exhausted(self._epoch, self._batches)
        self._batches += 1
        return Drawn(self._epoch, item)

    def _begin_epoch(self) -> Iterator[object]:
        self._epoch += 1
        self._batches = 0
        if self._loader is None:
            self._loader = self._make()
            self._give_generator(self._loader)
        iterator = iter(self._loader)
        if iterator is self._loader:  # a generator: used up after this epoch
            self._loader = None
        return iterator

    def _give_generator(self, loader: object) -> None:
        if not isinstance(loader, DataLoader):
            return
        generator = torch.Generator().manual_seed(self._seed)
        batch_sampler = loader.batch_sampler
        for part in (loader, loader.sampler, batch_sampler, getattr(batch_sampler, "sampler", None)):
            if getattr(part, "generator", generator) is None:
                setattr(part, "generator", generator)  # noqa: B010 - which kinds of sampler have one is not in their type


class Shelf:
    """A sentinel's side: batches that are ready, and how many more to ask for.

    It asks for many at a time, so that the provider's thread is not woken for each.

    Args:
        room: how many batches may be ready or asked for.
    """

    def __init__(self, room: int) -> None:
        self.ready: deque[Drawn] = deque()
        self.waiting_since = 0.0
        self._room = room
        self._asked = 0

    @property
    def waiting(self) -> bool:
        """Whether it is empty, and something has been asked for."""
        return self._asked > 0 and not self.ready

    def order(self, now: float) -> int:
        """Return how many batches to ask for now; they count as asked for."""
        missing = self._room - len(self.ready) - self._asked
        if 2 * missing < self._room:
            return 0
        if self._asked == 0:
            self.waiting_since = now
        self._asked += missing
        return missing

    def answered(self, now: float) -> None:
        """Note that the provider answered one wish."""
        self._asked -= 1
        self.waiting_since = now
