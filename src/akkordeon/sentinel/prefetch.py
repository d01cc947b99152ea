"""Requests batches ahead of demand, keeps those that are ready, and knows where in the data the next one is."""

import logging
import zlib
from collections import deque
from functools import partial

import torch

from akkordeon.actor import Context, Ref
from akkordeon.messages.states import Mark, Position
from akkordeon.sentinel.description import Sentinel
from akkordeon.sentinel.epochs import Epochs
from akkordeon.sentinel.provider import Draw, DrawFailed, Drawn, Exhausted, Provider

logger = logging.getLogger(__name__)

LEAST_READY = 4
"""Batches that may be ready or requested at least, however few may be in flight."""


class Prefetch:
    """The batches of a sentinel that are not in flight yet.

    Args:
        sentinel: describes the data.
        incarnation: tells sentinels of one name apart.
        position: where to begin in the data; None is the first batch of the first epoch.

    Attributes:
        ready: batches that can be sent, in the order of the data.
        starves: whether its sentinel would send a batch, if one were ready.
    """

    def __init__(self, sentinel: Sentinel, incarnation: int, position: Position | None) -> None:
        self.ready: deque[Drawn] = deque()
        self.starves = False
        self._sentinel = sentinel
        self._incarnation = incarnation
        self._position = position
        self._provider: Ref | None = None
        self._room = LEAST_READY
        self._requested = 0
        self._starved = 0.0
        self._since = 0.0
        self._last_answer = 0.0  # or, later than that, when a request was made while none was open
        # Marks are rare: a loader's state may be large. Only the last one before the next batch is needed, and those
        # between that batch and the ones that are ready.
        self._marks: deque[Mark] = deque()
        self._end = (0, 0)  # epoch and index of the batch to be drawn next

    @property
    def length(self) -> int | None:
        """Batches in an epoch; None where the loader has no length."""
        return self._marks[-1].length if self._marks else None

    @property
    def is_waiting(self) -> bool:
        """Whether no batch is ready, and some were requested."""
        return self._requested > 0 and not self.ready

    @property
    def next_epoch(self) -> int:
        """The epoch of the batch to be sent next."""
        return self.ready[0].epoch if self.ready else self._end[0]

    def waited(self, now: float) -> float:
        """Return the seconds since the provider's last answer."""
        return now - self._last_answer

    def starve(self, context: Context, *, starves: bool) -> None:
        """Note whether its sentinel would send a batch, if one were ready."""
        if (starves and self.is_waiting) != self.starves:
            now = context.now()
            self._starved, self._since, self.starves = self.starved(now), now, not self.starves

    def starved(self, now: float) -> float:
        """Return the seconds in which the sentinel might have sent a batch, and none was ready."""
        return self._starved + (now - self._since if self.starves else 0.0)

    def look(self, now: float) -> str:
        """Describe what is waited for, for a person to read."""
        return f"has waited {self.waited(now):.1f} s for its loader" if self.is_waiting else ""

    def widen(self, window: int) -> None:
        """Keep enough batches ready for a window of this size."""
        self._room = max(self._room, 2 * window)

    def begin(self, context: Context) -> None:
        """Start the provider."""
        sentinel = self._sentinel
        seed = sentinel.seed
        if seed is None:  # as far apart as names are, and the same in each run after torch.manual_seed
            seed = (torch.initial_seed() + zlib.crc32(sentinel.name.encode())) % 2**63
        make = partial(Provider, sentinel.data, context.me, sentinel.last_epoch, seed, self._position)
        # The provider of an earlier sentinel of this name may not have ended yet, so the incarnation is in the name.
        self._provider = context.spawn(f"provider {sentinel.name} {self._incarnation}", make, blocking=True)
        context.watch(self._provider, context.me)
        context.watch(context.me, self._provider)

    def stop(self, context: Context) -> None:
        """End the provider."""
        if self._provider is not None:
            context.stop(self._provider)

    def resume(self, epochs: Epochs, now: float) -> bool:
        """Go on where a sentinel of this name stood when it was saved; return whether it had reached its end."""
        position, last = self._position, self._sentinel.last_epoch
        if position is None:
            return False
        if last is not None and position.epoch > last:
            return True
        if position.mark.exact:
            epochs.resume(position, now)
        elif position.index:
            again = f"epoch {position.epoch}, of which it had trained {position.index} batches, begins again"
            logger.warning("sentinel %r: its loader cannot tell where it stood, so %s", self._sentinel.name, again)
        return False

    def request(self, now: float) -> None:
        """Ask for as many batches as there is room for.

        It asks only once half of the room is free: the provider's thread need not be woken for each batch.
        """
        missing = self._room - len(self.ready) - self._requested
        if self._provider is None or 2 * missing < self._room:
            return
        if self._requested == 0:
            self._last_answer = now
        self._requested += missing
        self._provider.tell(Draw(missing))

    def answered(self, answer: Drawn | Exhausted | DrawFailed, now: float) -> None:
        """Take in one answer of the provider; each answers one requested batch."""
        self._requested -= 1
        self._last_answer = now
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
            self._next()

    def position(self, epochs: Epochs, now: float) -> Position | None:
        """Return where the sentinel stands with nothing in flight; None before the first batch of all."""
        epoch, index = self._next()
        return Position(epoch, index, self._marks[0], epochs.state(epoch, now)) if self._marks else self._position

    def _next(self) -> tuple[int, int]:
        """Return epoch and index of the batch to be sent next; of the marks that lie behind it, keep only the last."""
        following = (self.ready[0].epoch, self.ready[0].index) if self.ready else self._end
        while len(self._marks) > 1 and (self._marks[1].epoch, self._marks[1].index) <= following:
            self._marks.popleft()
        return following
