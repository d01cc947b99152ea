"""Notices when nothing moves any more, and says who waits for what."""

from dataclasses import dataclass, field

from akkordeon.actor import Ref
from akkordeon.messages.leases import Alive


@dataclass(slots=True)
class Watchdog:
    """Compares signs of life of gates and sentinels.

    Args:
        stall: seconds without a move after which it barks, once.
    """

    stall: float
    _signs: dict[Ref, Alive] = field(default_factory=dict)
    _since: float = 0.0
    _barked: bool = False

    def saw(self, sign: Alive, now: float) -> None:
        """Take in a sign of life."""
        before = self._signs.get(sign.actor)
        if before is None or before.moved != sign.moved:
            self.moved(now)
        self._signs[sign.actor] = sign

    def moved(self, now: float) -> None:
        """Note that something happens."""
        self._since, self._barked = now, False

    def forget(self, actor: Ref, now: float) -> None:
        """Look at an actor no longer."""
        self._signs.pop(actor, None)
        self.moved(now)

    def check(self, now: float) -> str | None:
        """Return who waits for what, if nothing has moved for so long; None otherwise, and once it has been said."""
        waiting = [f"{sign.actor.name} {sign.waiting}" for sign in self._signs.values() if sign.waiting]
        if not waiting or self._barked or now - self._since < self.stall:
            return None
        self._barked = True
        return "\n".join([f"nothing has moved for {now - self._since:.0f} s:", *waiting])
