"""What prepares a sentinel's next batches ahead of demand: an actor, and the shelf where its sentinel keeps them.

The actor may block for as long as its loader does, so it has a thread of its own. It prepares as many batches as its
sentinel asks for, and answers each of these wishes once: with a batch, the end of an epoch, or an error; after the last
epoch it answers none.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from akkordeon.actor import Actor, Context, Ended, Ref
from akkordeon.cursor import Cursor
from akkordeon.errors import DataUnavailable
from akkordeon.signals import Draw, DrawFailed, Drawn, Exhausted, Mark, Position

__all__ = ["Provider", "Shelf"]

logger = logging.getLogger(__name__)


class Provider(Actor):
    """Draws batches from a loader.

    Args:
        data: makes the loader, any iterable. Called once, or once per epoch if what it makes can be iterated only once.
        sentinel: who gets the batches.
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
        self._cursor: Cursor | None = None
        self._iterator: Iterator[object] | None = None
        self._epoch = position.mark.epoch - 1 if position else 0
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
            begins = self._iterator is None
            mark = self._begin_epoch() if begins else self._mark(self._epoch, self._batches)
            assert self._iterator is not None
            item = next(self._iterator, self)  # itself: nothing that a loader could yield
            if item is self:
                self._iterator = None
                return Exhausted(self._epoch, self._batches, self._mark(self._epoch + 1, 0))
        except Exception as error:  # noqa: BLE001 - a loader may raise anything
            return DrawFailed(error)
        self._batches += 1
        return Drawn(self._epoch, item, self._batches - 1, mark)

    def _begin_epoch(self) -> Mark | None:
        self._epoch += 1
        self._batches = 0
        if self._loader is None:
            self._loader = self._make()
            self._cursor = Cursor(self._loader, self._seed)
        position, self._position = self._position, None
        if position is not None:
            self._return_to(position)
        mark = self._mark(self._epoch, self._batches)
        self._iterator = iter(self._loader)
        if self._iterator is self._loader and not hasattr(self._loader, "state_dict"):
            self._loader = None  # a generator: used up after this epoch
        if position is not None and position.mark.exact:
            self._skip(position.index - position.mark.index)
        return mark

    def _mark(self, epoch: int, index: int) -> Mark | None:
        return None if self._cursor is None else self._cursor.mark(epoch, index)

    def _return_to(self, position: Position) -> None:
        assert self._cursor is not None
        self._cursor.put(position.mark)
        if position.mark.exact:
            self._batches = position.mark.index

    def _skip(self, amount: int) -> None:
        assert self._iterator is not None
        for _ in range(amount):
            if next(self._iterator, self) is self:
                raise DataUnavailable(
                    f"the loader ended after batch {self._batches} of epoch {self._epoch}, and had more when it was "
                    "saved; give it the same data, or begin anew"
                )
            self._batches += 1


class Shelf:
    """A sentinel's side: batches that are ready, how many more to ask for, and where the next one stands in the data.

    It asks for many at a time, so that the provider's thread is not woken for each.

    Args:
        room: how many batches may be ready or asked for.
    """

    def __init__(self, room: int) -> None:
        self.ready: deque[Drawn] = deque()
        self.waiting_since = 0.0
        self._room = room
        self._asked = 0
        self._marks: deque[Mark] = deque()
        self._end = (0, 0)

    @property
    def waiting(self) -> bool:
        """Whether it is empty, and something has been asked for."""
        return self._asked > 0 and not self.ready

    @property
    def length(self) -> int | None:
        """Batches in an epoch, where the loader tells."""
        return self._marks[-1].length if self._marks else None

    def order(self, now: float) -> int:
        """Return how many batches to ask for now; they count as asked for."""
        missing = self._room - len(self.ready) - self._asked
        if 2 * missing < self._room:
            return 0
        if self._asked == 0:
            self.waiting_since = now
        self._asked += missing
        return missing

    def widen(self, room: int) -> None:
        """Have room for that many, if it had less."""
        self._room = max(self._room, room)

    def answered(self, answer: Drawn | Exhausted | DrawFailed, now: float) -> None:
        """Note that the provider answered one wish; a batch is put on the shelf."""
        self._asked -= 1
        self.waiting_since = now
        match answer:
            case Drawn():
                self.ready.append(answer)
                self._end = (answer.epoch, answer.index + 1)
            case Exhausted():
                self._end = (answer.epoch + 1, 0)
            case DrawFailed():
                return
        if answer.mark is not None:
            self._marks.append(answer.mark)
            self.place()  # drops the marks that are behind

    def place(self) -> tuple[int, int, Mark] | None:
        """Return epoch and index of the batch to be sent next, and the last mark before it; None before the first."""
        epoch, index = (self.ready[0].epoch, self.ready[0].index) if self.ready else self._end
        while len(self._marks) > 1 and (self._marks[1].epoch, self._marks[1].index) <= (epoch, index):
            self._marks.popleft()
        return (epoch, index, self._marks[0]) if self._marks else None
