"""Pauses all training for a save, and collects the positions of the training sentinels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from akkordeon.actor import Context, Ref
from akkordeon.conductor.requests import Pause, Paused, Resume
from akkordeon.errors import AkkordeonError
from akkordeon.messages.leases import Held
from akkordeon.messages.states import Position

LONGEST_COPYING = 60.0
"""Seconds for copying the gates, after which training goes on even without a `Resume`."""


@dataclass(frozen=True, slots=True)
class Over:
    """From the conductor, to itself: a pause has lasted long enough."""

    number: int


class Pauses:
    """Grants one pause at a time.

    Args:
        saved: where training sentinels resume, by name.
    """

    def __init__(self, saved: Mapping[str, Position]) -> None:
        self._saved = dict(saved)
        self._stood: dict[str, Position] = {}  # of those that left or are paused
        self._count = 0
        self._pauser: Ref | None = None
        self._lasts = False
        self._awaited: set[str] = set()

    @property
    def number(self) -> int | None:
        """Number of the present pause; None for none."""
        return None if self._pauser is None else self._count

    def take_place(self, name: str) -> Position | None:
        """Return where a sentinel of that name resumes, once."""
        position = self._saved.pop(name, None)
        self.stands(name, position)  # until it reports a position itself
        return position

    def stands(self, name: str, position: Position | None) -> None:
        """Note the position of a sentinel."""
        if position is not None:
            self._stood[name] = position

    def begin(self, message: Pause, training: Iterable[str], context: Context) -> None:
        """Begin a pause, unless there is one; the next orders carry it to the training sentinels."""
        if self._pauser is not None:
            why = "is paused; let it go on first" if self._lasts else "is being saved already; try again"
            message.reply_to.tell(Paused({}, AkkordeonError(f"the network {why}")))
            return
        self._count += 1
        self._pauser = message.reply_to
        self._awaited = set(training)
        self._lasts = message.seconds is None
        if message.seconds is not None:
            context.tell_later(message.seconds + LONGEST_COPYING, Over(self._count))
        else:
            context.watch(message.reply_to, context.me)
        self._tell_if_paused()

    def held(self, name: str, message: Held) -> None:
        """Note that a sentinel has nothing in flight."""
        if message.pause == self.number and name in self._awaited:
            self.stands(name, message.position)
            self.left(name)

    def left(self, name: str) -> None:
        """Stop waiting for a sentinel."""
        if name in self._awaited:
            self._awaited.discard(name)
            self._tell_if_paused()

    def resume(self, message: Resume) -> bool:
        """End the pause of this requester; return whether training was paused until now."""
        if self._pauser != message.reply_to:
            return False
        paused = not self._awaited
        self._end()
        return paused

    def forget(self, pauser: Ref) -> None:
        """End the pause of one that has ended."""
        if self._lasts and self._pauser == pauser:
            self._end()

    def end_if(self, message: Over) -> None:
        """End a pause that lasts too long."""
        if message.number == self.number:
            self._end()

    def _end(self) -> None:
        self._pauser, self._lasts = None, False
        self._awaited.clear()

    def _tell_if_paused(self) -> None:
        if self._pauser is not None and not self._awaited:
            self._pauser.tell(Paused({**self._saved, **self._stood}))
