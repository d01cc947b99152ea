"""Where a sentinel's batches come from: its provider, the shelf they wait on, and where in the data the next one is."""

import logging
import zlib
from collections import deque
from functools import partial

import torch

from akkordeon.actor import Context, Ref
from akkordeon.messages.states import Mark, Position
from akkordeon.sentinel.description import Sentinel
from akkordeon.sentinel.draws import Draw, DrawFailed, Drawn, Exhausted
from akkordeon.sentinel.epochs import Epochs
from akkordeon.sentinel.provider import Provider

logger = logging.getLogger(__name__)


class Prefetch:
    """The batches of a sentinel that are not out yet.

    Args:
        sentinel: describes where they come from.
        incarnation: tells sentinels of one name apart.
        position: where to begin in the data; None is at the beginning.
    """

    def __init__(self, sentinel: Sentinel, incarnation: int, position: Position | None) -> None:
        self._sentinel = sentinel
        self._incarnation = incarnation
        self._position = position  # until the first batch is sent
        self._shelf = Shelf(0)
        self.widen(1)
        self._provider: Ref | None = None

    @property
    def ready(self) -> deque[Drawn]:
        """Batches that can be sent."""
        return self._shelf.ready

    @property
    def length(self) -> int | None:
        """Batches in an epoch, where the loader tells."""
        return self._shelf.length

    @property
    def waits(self) -> bool:
        """Whether there is none, and some were asked for."""
        return self._shelf.waiting

    def waited(self, now: float) -> float:
        """Return for how many seconds nothing has come."""
        return now - self._shelf.waiting_since

    def widen(self, window: int) -> None:
        """Have enough ready for so many in flight."""
        self._shelf.widen(max(4, 2 * window))

    def begin(self, context: Context) -> None:
        """Start the provider."""
        sentinel = self._sentinel
        seed = sentinel.seed
        if seed is None:  # as far apart as names are, and the same in each run after torch.manual_seed
            seed = (torch.initial_seed() + zlib.crc32(sentinel.name.encode())) % 2**63
        make = partial(Provider, sentinel.data, context.me, sentinel.last_epoch, seed, self._position)
        name = f"provider {sentinel.name} {self._incarnation}"  # that of one before may not have ended yet
        self._provider = context.spawn(name, make, blocking=True)
        context.watch(self._provider, context.me)
        context.watch(context.me, self._provider)

    def take_up(self, ledger: Epochs, now: float) -> bool:
        """Go on where a sentinel of this name stood when it was saved; return whether it had come to its end."""
        position, last = self._position, self._sentinel.last_epoch
        if position is None:
            return False
        if last is not None and position.epoch > last:
            return True
        if position.mark.exact:
            ledger.take_up(position, now)
        elif position.index:
            again = f"epoch {position.epoch} begins again, of which it had trained {position.index} batches"
            logger.warning("sentinel %r: its loader cannot tell where it stood, so %s", self._sentinel.name, again)
        return False

    def place(self, ledger: Epochs, now: float) -> Position | None:
        """Return where the sentinel stands, with nothing in flight."""
        place = self._shelf.place()
        return self._position if place is None else ledger.position(*place, now)

    def answered(self, answer: Drawn | Exhausted | DrawFailed, now: float) -> None:
        """Take in what the provider answered."""
        self._shelf.answered(answer, now)

    def order(self, now: float) -> None:
        """Ask for as many batches as there is room for."""
        if self._provider is not None and (amount := self._shelf.order(now)):
            self._provider.tell(Draw(amount))

    def stop(self, context: Context) -> None:
        """End the provider."""
        if self._provider is not None:
            context.stop(self._provider)


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
