"""Pauses of all training, for a save: who holds one, who still has batches in flight, and who stood where."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from akkordeon.actor import Context, Ref
from akkordeon.conductor.requests import Pause, Paused, Resume
from akkordeon.errors import AkkordeonError
from akkordeon.messages.leases import Held
from akkordeon.messages.states import Position

PAUSE = 60.0
"""Seconds for copying the gates, after which training goes on should whoever held it not say so."""


@dataclass(frozen=True, slots=True)
class Over:
    """From the conductor, to itself: a pause has lasted long enough."""

    number: int


class Pauses:
    """Grants one pause at a time.

    Args:
        saved: where training sentinels may take up again, by name.
    """

    def __init__(self, saved: Mapping[str, Position]) -> None:
        self._saved = dict(saved)
        self._stood: dict[str, Position] = {}  # where those that left or are held stand
        self._count = 0
        self._pauser: Ref | None = None
        self._awaited: set[str] = set()

    @property
    def number(self) -> int | None:
        """Which pause it is now; None for none."""
        return None if self._pauser is None else self._count

    def take_place(self, name: str) -> Position | None:
        """Return where a sentinel of that name is to take up again, once."""
        position = self._saved.pop(name, None)
        self.stands(name, position)  # until it says where it stands itself
        return position

    def stands(self, name: str, position: Position | None) -> None:
        """Note where a sentinel stands."""
        if position is not None:
            self._stood[name] = position

    def begin(self, message: Pause, training: Iterable[str], context: Context) -> None:
        """Begin a pause, unless there is one; training sentinels are to be told."""
        if self._pauser is not None:
            message.reply_to.tell(Paused({}, AkkordeonError("somebody else is saving the network; try again")))
            return
        self._count += 1
        self._pauser = message.reply_to
        self._awaited = set(training)
        context.tell_later(message.seconds + PAUSE, Over(self._count))
        self._tell_if_paused()

    def held(self, name: str, message: Held) -> None:
        """Note that a sentinel has nothing in flight."""
        if message.pause == self.number and name in self._awaited:
            self.stands(name, message.position)
            self.left(name)

    def left(self, name: str) -> None:
        """Wait for a sentinel no longer."""
        if name in self._awaited:
            self._awaited.discard(name)
            self._tell_if_paused()

    def resume(self, message: Resume) -> bool:
        """End the pause, if it is this one's; return whether all stood still until now."""
        if self._pauser != message.reply_to:
            return False
        stood_still = not self._awaited
        self._end()
        return stood_still

    def end_if(self, message: Over) -> None:
        """End a pause that lasts too long."""
        if message.number == self.number:
            self._end()

    def _end(self) -> None:
        self._pauser = None
        self._awaited.clear()

    def _tell_if_paused(self) -> None:
        if self._pauser is not None and not self._awaited:
            self._pauser.tell(Paused({**self._saved, **self._stood}))
