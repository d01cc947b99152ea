"""What the oracle of the simulation looks at in gates: each batch once, in time, under a lease, and nothing kept."""

from collections import Counter

from akkordeon.gate.actor import GateActor
from akkordeon.messages.batches import Forward, Route
from akkordeon.messages.leases import Copy, Lease
from tests.properties.simulation.records import Life, Records, term_of
from tests.properties.simulation.stub import FINE, Batch, StubLearner, StubState

__all__ = ["GateWatch"]

SLACK = 1e-6


class GateWatch(Records):
    """See `tests.properties.simulation.stub.Book` for what the stub of the gates tells it."""

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

    def look_at_gate(self, actor: GateActor, life: Life, name: str, message: object) -> None:
        """See what it has done in a turn."""
        learner = life.learner
        if isinstance(message, Lease):
            now = self.engine.time + self.engine.bodies[name].host.offset
            life.signs.setdefault(max(actor._lease.heartbeats, default=0), now)
            self._check_attendance(actor, name, message)
            self._check_lease(actor, life, message)
        elif isinstance(message, Forward):
            self._check_low(actor, life, message.route)
            self._check_term(actor, life, message.route)
        if learner.torn:
            return
        late = learner.weights.version - learner.copied >= self.terms.copy_every
        if late and learner.finite and not self.engine.bodies[name].host.offset:  # whose clock has not jumped
            self.violated(f"{name} is at {learner.weights.version} and was last copied at {learner.copied}")
        if len(actor._pending) > life.peak:
            life.peak = len(actor._pending)
            self._check_table(actor, name)

    def _check_lease(self, actor: GateActor, life: Life, lease: Lease) -> None:
        """C11: a gate keeps to the newest lease, and takes nothing with it into another term."""
        life.newest = max(life.newest, lease.number)
        if actor._lease.number != life.newest:
            self.violated(f"{life.actor} keeps to lease {actor._lease.number}, and has got {life.newest}")
        if actor._pending.term != life.rewired and len(actor._pending):
            self.violated(f"{life.actor} takes {len(actor._pending)} batches into term {actor._pending.term}")
        life.rewired = actor._pending.term

    def _check_term(self, actor: GateActor, life: Life, route: Route) -> None:
        """C11: nothing of another term is begun."""
        entry = actor._pending._table.get(route.batch)
        if entry is not None and entry.attempt == route.attempt and route.term != actor._pending.term:
            self.violated(f"{life.actor} begins {route.batch} of term {route.term} in term {actor._pending.term}")

    def _check_attendance(self, actor: GateActor, name: str, lease: Lease) -> None:
        """C12: once a gate knows that a sentinel is gone, it keeps nothing of it."""
        if lease.number != actor._lease.number:
            return
        entries = actor._pending
        kept = {batch.incarnation for batch in entries._table} | {*entries._known}
        if gone := [each for each in kept if each <= lease.newest and each not in lease.attached]:
            self.violated(f"{name} keeps something of sentinels {gone}, which are gone")

    def _check_low(self, actor: GateActor, life: Life, route: Route) -> None:
        """C8: nothing is kept of batches that no sentinel waits for."""
        entries, (batch, _, term, low, *_) = actor._pending, route
        if term != entries.term or batch.incarnation not in entries._known:
            return
        low = life.lows[batch.incarnation] = max(low, life.lows.get(batch.incarnation, 0))
        known = entries._known[batch.incarnation]
        if (known.applied and min(known.applied) < low) or (batch.seq < low and batch in entries._table):
            self.violated(f"{life.actor} keeps batches of sentinel {batch.incarnation} before {low}: {known.applied}")

    def _check_table(self, actor: GateActor, name: str) -> None:
        """C8: no more batches wait at a gate than sentinels have out, and those that were given up lately."""
        table = Counter(batch.incarnation for batch in actor._pending._table)
        for incarnation, amount in table.items():
            watched = next((w for w in self.sentinels.values() if w.actor._incarnation == incarnation), None)
            dropped = 0 if watched is None else len(watched.actor.in_flight.given_up)
            window = self.members[incarnation].window
            if amount > window + dropped + self.engine.injected["duplicate"]:  # one that comes late is kept for a while
                self.violated(f"{name} keeps {amount} batches of sentinel {incarnation}, whose window is {window}")
        self.counts["table"] = max(self.counts["table"], len(actor._pending))
