"""Records of the simulation's oracle: what it has seen so far, and the promises that were broken."""

from collections import Counter
from dataclasses import dataclass, field

from akkordeon.conductor.actor import Conductor
from akkordeon.conductor.state import Member
from akkordeon.engines import Crashed, Stepped
from akkordeon.errors import AkkordeonError, UpdateFailed
from akkordeon.messages.batches import BatchId
from akkordeon.sentinel.actor import SentinelActor
from tests.properties.simulation.stub import Poison, StubLearner, Trouble


class Died(AkkordeonError):
    """The conductor was killed at a point where it writes."""


EXPECTED = (Crashed, Died, Poison, UpdateFailed)
"""What actors may end of: what was injected."""


@dataclass(frozen=True)
class Terms:
    """What a network was promised to keep to.

    Args:
        lease: seconds.
        copy_every: updates.
        restarts: that are allowed.
        within: seconds.
        capacity: batches in flight.
        max_staleness: of updates; None where the network works it out.
    """

    lease: float
    copy_every: int
    restarts: int
    within: float
    capacity: int
    max_staleness: int | None


@dataclass(slots=True)
class Watched:
    """A sentinel that was seen.

    Args:
        actor: what it is.
        key: of its batches.
        done: how many it had counted as done.
        back: when one last came back, or it began to wait for one.
        resent: how many it had sent again.
        attempts: of those, by number.
        told: whether it was told why the network failed.
    """

    actor: SentinelActor
    key: int
    done: int = 0
    back: float = 0.0
    resent: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    newest: tuple[int, int] = (0, 0)  # orders that have come to it
    told: bool = False
    ended: float | None = None
    crashed: bool = False


@dataclass
class Life:
    """A gate's actor: what it computes with, and when it came and went."""

    learner: StubLearner
    actor: str
    term: int
    born: float
    died: float | None = None
    peak: int = 0
    signs: dict[int, float] = field(default_factory=dict)
    leased: float = 0.0
    lows: dict[int, int] = field(default_factory=dict)
    newest: tuple[int, int] = (0, 0)  # lease that has come to it
    rewired: int = 0  # the term that it knew of last


def term_of(actor: str) -> int:
    """Return the term in which a gate's actor was started; its name tells."""
    head = actor.split(" ", 1)[0]
    return int(head.removeprefix("gate#")) if "#" in head else 1


def reason_of(text: str) -> str:
    """Return why a batch was given up, of what an outbox remembers."""
    return text.rsplit(": ", 1)[1]


class Records:
    """What is known so far.

    Args:
        engine: whose events are seen.
        terms: what the network keeps to.
        trouble: what goes wrong with batches.
    """

    def __init__(self, engine: Stepped, terms: Terms, trouble: Trouble) -> None:
        self.engine = engine
        self.terms = terms
        self.trouble = trouble
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.recovery: list[float] = []
        self.lives: dict[str, list[Life]] = {}
        self.by_actor: dict[str, Life] = {}
        self.sentinels: dict[str, Watched] = {}
        self.members: dict[int, Member] = {}
        self.arrived: dict[tuple[str, BatchId, int], float] = {}  # at a gate, an attempt of a batch
        self.conductor: Conductor | None = None
        self.cause: str | None = None
        self.banked: dict[str, int] = {}
        self.failures: list[str] = []
        self.most_training = 0
        self.most_windows = 0
        self._number = 0
        self._asked: set[object] = set()
        self._down: float | None = None
        self._down_term = 0

    def number(self) -> int:
        self._number += 1
        return self._number

    def once(self, what: object) -> bool:
        fresh = what not in self._asked
        self._asked.add(what)
        return fresh

    def injected(self, kind: str) -> None:
        self.engine.inject(kind, self.current)

    def violated(self, text: str) -> None:
        self.violations.append(f"at {self.engine.time:.3f} s: {text}")

    @property
    def current(self) -> str:
        """The actor in whose turn something happens."""
        return "outside" if self.engine.current is None else self.engine.current.name
