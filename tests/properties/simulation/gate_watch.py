"""Checks gates: each batch is applied once, in time and under a lease, and nothing is kept."""

from collections import Counter

from akkordeon.gate.actor import GateActor
from akkordeon.messages.batches import Forward, Route
from akkordeon.messages.leases import Copy, Lease
from tests.properties.simulation import private
from tests.properties.simulation.records import Life, Records, term_of
from tests.properties.simulation.stub import FINE, Batch, StubLearner, StubState

SLACK = 1e-6


class GateWatch(Records):
    """Looks at gates; the stub of their computation tells it what they apply, as `stub.Book` says."""

    def born(self, learner: StubLearner) -> None:
        """C5: a gate is restarted from the newest copy that its conductor ever got, so no more is lost."""
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

    def computed(self, learner: StubLearner, batch: Batch) -> None:
        """Count what is computed more than once."""
        self.counts["computed_again"] += not self.once(("forward", batch, learner.name))

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
        """C9, C11: what the conductor keeps is finite, whole, of the present gate, and goes on from what was there."""
        state = copy.state
        assert isinstance(state, StubState)
        newest = self.lives[state.name][-1]
        if copy.actor.name != newest.actor:
            self.violated(f"a copy of {copy.actor.name} is kept; {newest.actor} has replaced it")
        if state.weights["w"] is not FINE:
            self.violated(f"a copy of {copy.actor.name} that is not finite is kept")
        if before is not None and state.version < before.state.version:
            self.violated(f"a copy of {state.name} at {state.version} replaces one at {before.state.version}")
        self.counts["copies"] += 1

    def look_at_gate(self, actor: GateActor, life: Life, name: str, message: object) -> None:
        """See what it has done in a turn."""
        learner = life.learner
        if isinstance(message, Lease):
            now = self.engine.time + self.engine.bodies[name].host.offset
            life.signs.setdefault(private.latest_sign(actor), now)
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
        if (amount := private.open_batches(actor)) > life.peak:
            life.peak = amount
            self._check_table(actor, name)

    def _check_lease(self, actor: GateActor, life: Life, lease: Lease) -> None:
        """C11: a gate keeps to the newest lease, and takes nothing with it into another term."""
        life.newest = max(life.newest, lease.number)
        if (number := private.lease_number(actor)) != life.newest:
            self.violated(f"{life.actor} keeps to lease {number}, and has got {life.newest}")
        term, amount = private.term_of_gate(actor), private.open_batches(actor)
        if term != life.rewired and amount:
            self.violated(f"{life.actor} takes {amount} batches into term {term}")
        life.rewired = term

    def _check_term(self, actor: GateActor, life: Life, route: Route) -> None:
        """C11: nothing of another term is begun."""
        term = private.term_of_gate(actor)
        if route.term != term and private.is_pending(actor, route.batch) == route.attempt:
            self.violated(f"{life.actor} begins {route.batch} of term {route.term} in term {term}")

    def _check_attendance(self, actor: GateActor, name: str, lease: Lease) -> None:
        """C12: once a gate knows that a sentinel is gone, it keeps nothing of it."""
        if lease.number != private.lease_number(actor):
            return
        kept = {batch.incarnation for batch in private.pending(actor)} | private.known_incarnations(actor)
        if gone := [each for each in kept if each <= lease.newest and each not in lease.attached]:
            self.violated(f"{name} keeps something of sentinels {gone}, which are gone")

    def _check_low(self, actor: GateActor, life: Life, route: Route) -> None:
        """C8: nothing is kept of batches that no sentinel waits for."""
        batch, _, term, low, *_ = route
        if term != private.term_of_gate(actor) or not private.remembers(actor, batch.incarnation):
            return
        low = life.lows[batch.incarnation] = max(low, life.lows.get(batch.incarnation, 0))
        applied = private.applied(actor, batch.incarnation)
        if (applied and min(applied) < low) or (batch.seq < low and private.is_pending(actor, batch) is not None):
            self.violated(f"{life.actor} keeps batches of sentinel {batch.incarnation} before {low}: {applied}")

    def _check_table(self, actor: GateActor, name: str) -> None:
        """C8: no more batches wait at a gate than sentinels have out, and those that were given up lately."""
        table = Counter(batch.incarnation for batch in private.pending(actor))
        for incarnation, amount in table.items():
            watched = next((w for w in self.sentinels.values() if private.incarnation(w.actor) == incarnation), None)
            dropped = 0 if watched is None else len(watched.actor.in_flight.given_up)
            window = self.members[incarnation].window
            if amount > window + dropped + self.engine.injected["duplicate"]:  # one that comes late is kept for a while
                self.violated(f"{name} keeps {amount} batches of sentinel {incarnation}, whose window is {window}")
        self.counts["table"] = max(self.counts["table"], private.open_batches(actor))
