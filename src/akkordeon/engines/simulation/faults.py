"""The faults that a simulation may inject, and their rates."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from akkordeon.errors import AkkordeonError

SHARES = ("loss", "duplicates", "reordering", "silent", "slow")
RATES = ("crashes", "pauses", "partitions", "jumps")


class Crashed(AkkordeonError):
    """The simulation has ended an actor, as a machine that dies would."""


@dataclass(frozen=True)
class Faults:
    """Rates of faults. Rates are per virtual second, over all actors together.

    Args:
        loss: share of the messages between actors that never arrive.
        duplicates: share of them that arrive twice.
        reordering: share of them that are held back, so that later ones may overtake.
        crashes: per second, an actor ends, at any point; of what it told in the turn that it was in, only the first
            part gets out.
        silent: share of the crashes of which no watcher on another host is told.
        pauses: per second, an actor stands still for a while, in the middle of whatever it does.
        partitions: per second, some actors are cut off from all others, and live on: no message, `stop` or `Ended`
            gets across. `Ended` is told later; the rest is lost.
        jumps: per second, the clock of an actor jumps, forward or backward.
        jump: by how many seconds at most.
        slow: share of the actors that are ten times slower than they should be.
        seconds: how long a pause or a partition lasts, from and to; most are short.
        until: virtual second from which nothing goes wrong any more.
        victims: who may crash, pause, be cut off, be slow or see its clock jump, by name; by default everybody whom
            an actor spawned.
        lossy: between which sender and receiver messages may be lost, doubled or held back; by default all.
    """

    loss: float = 0.0
    duplicates: float = 0.0
    reordering: float = 0.0
    crashes: float = 0.0
    silent: float = 0.0
    pauses: float = 0.0
    partitions: float = 0.0
    jumps: float = 0.0
    jump: float = 10.0
    slow: float = 0.0
    seconds: tuple[float, float] = (0.1, 10.0)
    until: float = math.inf
    victims: Callable[[str], bool] | None = None
    lossy: Callable[[str, str], bool] | None = None

    def __post_init__(self) -> None:
        for name in SHARES:
            if not 0.0 <= (value := getattr(self, name)) <= 1.0:
                raise ValueError(f"{name} is a share and must be between 0 and 1, not {value}")
        for name in (*RATES, "jump"):
            if not 0.0 <= (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must be a number that is not negative, not {value}")
        shortest, longest = self.seconds
        if not 0.0 < shortest <= longest < math.inf:
            raise ValueError(f"seconds must be two positive numbers, the smaller one first, not {self.seconds}")
        if not self.until >= 0.0:
            raise ValueError(f"until must be a virtual second that is not negative, not {self.until}")
