"""Notices when the network has stalled, and reports which actor waits for what."""

from dataclasses import dataclass, field

from akkordeon.actor import Ref
from akkordeon.messages.leases import Alive


@dataclass(slots=True)
class Watchdog:
    """Compares the heartbeats of gates and sentinels.

    Args:
        stall: seconds without progress after which it reports, once.
    """

    stall: float
    _signs: dict[Ref, Alive] = field(default_factory=dict)
    _since: float = 0.0
    _reported: bool = False

    def saw(self, sign: Alive, now: float) -> None:
        """Take in a heartbeat."""
        before = self._signs.get(sign.actor)
        if before is None or before.moved != sign.moved:
            self.moved(now)
        self._signs[sign.actor] = sign

    def moved(self, now: float) -> None:
        """Note progress."""
        self._since, self._reported = now, False

    def forget(self, actor: Ref, now: float) -> None:
        """Ignore an actor from now on."""
        self._signs.pop(actor, None)
        self.moved(now)

    def check(self, now: float) -> str | None:
        """Return which actor waits for what, if the network has stalled and that was not reported yet; else None."""
        waiting = [f"{sign.actor.name} {sign.waiting}" for sign in self._signs.values() if sign.waiting]
        if not waiting or self._reported or now - self._since < self.stall:
            return None
        self._reported = True
        return "\n".join([f"nothing has moved for {now - self._since:.0f} s:", *waiting])
