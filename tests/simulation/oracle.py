"""Watches a simulated network and says which promise it breaks; reliability contract C1 to C13.

It looks at every event, so it must be cheap: most checks are one comparison per turn. What it knows it takes from what
goes over the wires and from what the stub of the gates does, not from what the actors say they do.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from akkordeon.actor import Ref
from akkordeon.conductor import Conductor
from akkordeon.control import Attach
from akkordeon.engines import Crashed, Stepped
from akkordeon.errors import AkkordeonError, UpdateFailed
from akkordeon.events import Alarm, Failure
from akkordeon.gate_actor import GateActor
from akkordeon.messages import ALREADY_APPLIED, NON_FINITE, NOTHING_TO_LEARN, TOO_STALE, Backward, Forward, Route
from akkordeon.sentinel_actor import SentinelActor
from akkordeon.signals import Alive, Copy, Lease, Orders
from akkordeon.vault import Member
from tests.simulation.stub import FINE, Batch, Loader, Poison, StubLearner, StubState, Trouble

__all__ = ["Died", "Oracle", "Terms", "Watched", "term_of"]

SLACK = 1e-6
PATIENCE = 2.5
"""Seconds after its time limit within which a batch must have been given up: it is looked for once per second."""


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
        told: whether it was told why the network failed.
    """

    actor: SentinelActor
    key: int
    done: int = 0
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


def term_of(actor: str) -> int:
    """Return the term in which a gate's actor was started; its name tells."""
    head = actor.split(" ", 1)[0]
    return int(head.removeprefix("gate#")) if "#" in head else 1


class Oracle:
    """See `tests.simulation.stub.Book` for what the stub of the gates tells it.

    Args:
        engine: whose events it sees.
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
        self.conductor: Conductor | None = None
        self.cause: Exception | None = None
        self.banked: dict[str, int] = {}
        self.failures: list[str] = []
        self.most_training = 0
        self.most_windows = 0
        self._number = 0
        self._asked: set[object] = set()
        self._looks: dict[str, Callable[[str, object], None]] = {}
        self._published = 0
        self._down: float | None = None
        self._down_term = 0
        engine.observers.append(self.saw)

    # What the stub tells

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

    def born(self, learner: StubLearner) -> None:
        """C5: a gate is made anew from the newest copy that its conductor ever got, so no more is lost."""
        learner.actor, name = self.current, learner.name
        lives = self.lives.setdefault(name, [])
        if lives:
            before = lives[-1].learner
            lost = len(before.history) - learner.began
            self.counts["updates_lost"] += max(0, lost)
            self.counts["replacements"] += 1
            if learner.began < self.banked.get(name, 0):
                self.violated(f"{self.current} begins at {learner.began}; the conductor had {self.banked[name]}")
            if learner.history != before.history[: learner.began]:
                self.violated(f"{self.current} begins with what its predecessor never was")
        recent = [life for life in lives[1:] if life.born > self.engine.time - self.terms.within]
        if len(recent) >= self.terms.restarts and self.engine.injected["conductor dies"] == 0:
            self.violated(f"{name} is restarted for the {len(recent) + 1}th time")
        life = Life(learner, self.current, term_of(self.current), self.engine.time)
        lives.append(life)
        self.by_actor[self.current] = life

    def applied(self, learner: StubLearner, batch: Batch, staleness: int) -> None:
        """C3, C6, C11: once, in time, under a lease."""
        life = self.by_actor[learner.actor]
        self.counts["updates"] += 1
        if batch in learner.seen:
            self.counts["applied_twice"] += 1
            self.violated(f"{learner.actor} applies {batch} twice")
        bound = self.terms.max_staleness
        if staleness > (4 * self.most_training if bound is None else bound):
            self.violated(f"{learner.actor} applies {batch}, which is {staleness} updates late")
        self.counts["staleness"] = max(self.counts["staleness"], staleness)
        if self._local_time() > life.leased + SLACK:
            self.violated(f"{learner.actor} applies {batch} without a lease")
        if self.lives[learner.name][-1] is not life:
            self.counts["zombie_updates"] += 1

    def _local_time(self) -> float:
        body = self.engine.current
        assert body is not None
        return self.engine.time + body.host.offset

    # What the engine shows

    def saw(self, event: str, name: str, message: object) -> None:
        """Take in an event."""
        if event == "turn":
            look = self._looks.get(name) or self._look_at(name)
            look(name, message)
        elif event == "ends":
            self._looks.pop(name, None)
            self._ends(name, message)

    def _look_at(self, name: str) -> Callable[[str, object], None]:
        """Return what looks at the turns of an actor."""
        actor = self.engine.actor(name)
        look: Callable[[str, object], None] = _look_away
        if isinstance(actor, GateActor):
            look = partial(self._gate, actor, self.by_actor[name])
        elif isinstance(actor, SentinelActor):
            look = partial(self._sentinel, actor)
        elif isinstance(actor, Conductor):
            look = partial(self._conduct, actor)
        if actor is not None:
            self._looks[name] = look
        return look

    def _ends(self, name: str, reason: object) -> None:
        if (life := self.by_actor.get(name)) is not None:
            life.died = self.engine.time
            if self.lives[life.learner.name][-1] is life and self._down is None:
                self._down, self._down_term = self.engine.time, life.term
                if self.conductor is not None:
                    self._down_term = self.conductor._gates.term
        elif (watched := self.sentinels.get(name)) is not None:
            watched.ended = self.engine.time
            watched.crashed = reason is not None
        if isinstance(reason, Died):
            self.engine.inject("conductor dies", name)
        if reason is not None and not isinstance(reason, EXPECTED):
            self.violated(f"{name} has failed: {reason!r}")

    def _gate(self, actor: GateActor, life: Life, name: str, message: object) -> None:
        learner = life.learner
        if isinstance(message, Lease):
            now = self.engine.time + self.engine.bodies[name].host.offset
            life.signs.setdefault(max(actor._signs, default=0), now)
            self._check_attendance(actor, name, message)
        elif isinstance(message, Forward):
            self._check_low(actor, life, message.route)
        if learner.torn:
            return
        late = learner.weights.version - learner.copied >= self.terms.copy_every
        if late and learner.finite and not self.engine.bodies[name].host.offset:  # whose clock has not jumped
            self.violated(f"{name} is at {learner.weights.version} and was last copied at {learner.copied}")
        if len(actor._entries) > life.peak:
            life.peak = len(actor._entries)
            self._check_table(actor, name)

    def _check_attendance(self, actor: GateActor, name: str, lease: Lease) -> None:
        """C12: once a gate knows that a sentinel is gone, it keeps nothing of it."""
        if lease.number != actor._lease_number:
            return
        entries = actor._entries
        kept = {batch.incarnation for batch in entries._table} | {*entries._known}
        if gone := [each for each in kept if each <= lease.newest and each not in lease.attached]:
            self.violated(f"{name} keeps something of sentinels {gone}, which are gone")

    def _check_low(self, actor: GateActor, life: Life, route: Route) -> None:
        """C8: nothing is kept of batches that no sentinel waits for."""
        entries, (batch, _, term, low, *_) = actor._entries, route
        if term != entries.term or batch.incarnation not in entries._known:
            return
        low = life.lows[batch.incarnation] = max(low, life.lows.get(batch.incarnation, 0))
        known = entries._known[batch.incarnation]
        if (known.applied and min(known.applied) < low) or (batch.seq < low and batch in entries._table):
            self.violated(f"{life.actor} keeps batches of sentinel {batch.incarnation} before {low}: {known.applied}")

    def _check_table(self, actor: GateActor, name: str) -> None:
        """C8: no more batches wait at a gate than sentinels have out, and those that were given up lately."""
        table = Counter(batch.incarnation for batch in actor._entries._table)
        for incarnation, amount in table.items():
            watched = next((w for w in self.sentinels.values() if w.actor._incarnation == incarnation), None)
            dropped = 0 if watched is None else len(watched.actor.outbox.given_up)
            window = self.members[incarnation].window
            if amount > window + dropped + self.engine.injected["duplicate"]:  # one that comes late is kept for a while
                self.violated(f"{name} keeps {amount} batches of sentinel {incarnation}, whose window is {window}")
        self.counts["table"] = max(self.counts["table"], len(actor._entries))

    def _sentinel(self, actor: SentinelActor, name: str, message: object) -> None:
        watched = self.sentinels.get(name)
        if watched is None:
            assert isinstance(actor.sentinel.data, Loader)
            watched = self.sentinels[name] = Watched(actor, actor.sentinel.data.key)
        if isinstance(message, Orders) and message.cause is not None:
            watched.told = True
        member = self.members.get(actor._incarnation)
        if member is not None and len(actor.outbox) > member.window:
            self.violated(f"{name} has {len(actor.outbox)} batches out, and may have {member.window}")
        if type(message).__name__ == "_Tick" and actor.chain is not None and actor._left is None:
            self._check_age(actor, name)
        if actor.ledger.done > watched.done:
            watched.done = actor.ledger.done
            if isinstance(message, Backward):
                self._check_done(watched, name, message)
        self._check_mailbox(name)

    def _check_age(self, actor: SentinelActor, name: str) -> None:
        """C2: in time, a batch comes back or is given up."""
        now = self.engine.time + self.engine.bodies[name].host.offset
        oldest = actor.outbox.oldest
        if oldest is not None and not oldest.waits and now - oldest.sent > actor.sentinel.time_limit + PATIENCE:
            self.violated(f"{name} waits for {oldest.route} since {now - oldest.sent:.1f} s")

    def _check_mailbox(self, name: str) -> None:
        self.counts["mailbox"] = max(self.counts["mailbox"], len(self.engine.bodies[name].mailbox))

    def _check_done(self, watched: Watched, name: str, message: Backward) -> None:
        """C4: each gate of the term has applied the batch, or said why not."""
        route, trail = message.route, message.trail
        batch = (watched.key, route.batch.seq)
        orders = watched.actor._orders
        assert orders is not None
        if route.term != orders.term:
            self.violated(f"{name} counts {batch} as done in term {route.term}, and knows of term {orders.term}")
        if len(trail) != len(self.lives):
            self.violated(f"{name} counts {batch} as done, and its trail is {trail}")
        for gate, outcome in zip(reversed(list(self.lives)), trail, strict=False):
            learner = self._of_term(gate, route.term).learner
            fine = batch in learner.seen
            if outcome == NON_FINITE:
                fine = (batch, gate) in self.trouble.non_finite
            elif outcome == NOTHING_TO_LEARN:
                fine = batch in self.trouble.lossless or watched.actor.error is not None or not self._was_finite(batch)
            elif outcome == TOO_STALE:
                fine = True
                self.counts["too_stale"] += 1
            if not fine:
                self.violated(f"{name} counts {batch} as done, and {learner.actor} has not applied it: {outcome}")
            self.counts["dedup_hits"] += outcome == ALREADY_APPLIED
            self.counts["nonfinite"] += outcome == NON_FINITE
        if self._down is not None and route.term > self._down_term:
            self.recovery.append(self.engine.time - self._down)
            self._down = None

    def _of_term(self, gate: str, term: int) -> Life:
        return max((life for life in self.lives[gate] if life.term <= term), key=lambda life: life.term)

    def _was_finite(self, batch: Batch) -> bool:
        return not self.trouble.overflows

    # The conductor, and its vault

    def _conduct(self, conductor: Conductor, name: str, message: object) -> None:
        if conductor is not self.conductor:
            self.conductor, self._published = conductor, 0
        if conductor._stream._count > self._published:
            self._listen(conductor)
        match message:
            case Alive(actor, number):
                if (life := self.by_actor.get(actor.name)) is not None:
                    life.leased = max(life.leased, life.signs.get(number, 0.0) + self.terms.lease)
            case Copy(actor, state):
                if actor in conductor._gates.refs:
                    self.banked[state.name] = max(self.banked.get(state.name, 0), state.version)
            case Attach():
                self._admit(conductor._members)
        if conductor._gates.cause is not None and self.cause is None:
            self._fails(conductor)

    def _listen(self, conductor: Conductor) -> None:
        """Take in what users are told."""
        for notice in list(conductor._stream._events)[self._published :]:
            if isinstance(notice.event, Failure):
                self.failures.append(str(notice.event.error))
            self.counts["stalls"] += (
                isinstance(notice.event, Alarm) and "nothing has moved" in notice.event.text
            )
        self._published = conductor._stream._count

    def _admit(self, members: list[Member]) -> None:
        """C8: no more is let in than there is room for."""
        self.members.update((each.incarnation, each) for each in members)
        training = sum(each.window for each in members if each.kind == "train")
        windows = sum(each.window for each in members)
        self.most_training, self.most_windows = max(self.most_training, training), max(self.most_windows, windows)
        bound = self.terms.max_staleness
        if windows > self.terms.capacity or (bound is not None and training > bound + 1):
            self.violated(f"sentinels with {windows} batches in flight were let in, {training} of them in training")

    def _fails(self, conductor: Conductor) -> None:
        """C13: only beyond the limit of restarts."""
        self.cause, now = conductor._gates.cause, self.engine.time
        recent = [
            sum(life.born > now - self.terms.within - SLACK for life in lives if life.term > 1)
            for lives in self.lives.values()
        ]
        if max(recent) < self.terms.restarts:
            self.violated(f"the network has failed after {max(recent)} restarts: {self.cause}")

    def banks(self, copy: Copy, before: Copy | None) -> None:
        """C9, C11: what goes into the vault is finite, whole, of the present gate, and goes on from what was there."""
        state = copy.state
        assert isinstance(state, StubState)
        newest = self.lives[state.name][-1]
        if copy.actor.name != newest.actor:
            self.violated(f"a copy of {copy.actor.name} gets into the vault; {newest.actor} has replaced it")
        if state.weights["w"] is not FINE:
            self.violated(f"a copy of {copy.actor.name} that is not finite gets into the vault")
        if before is not None and state.version < before.state.version:
            self.violated(f"a copy of {state.name} at {state.version} replaces one at {before.state.version}")
        self.counts["copies"] += 1

    def roster(self) -> tuple[Ref, ...]:
        """The gates as their conductor knows them."""
        return () if self.conductor is None else self.conductor._gates.refs


def _look_away(name: str, message: object) -> None:
    """Look at nothing."""


def reason_of(text: str) -> str:
    """Return why a batch was given up, of what an outbox remembers."""
    return text.rsplit(": ", 1)[1]
