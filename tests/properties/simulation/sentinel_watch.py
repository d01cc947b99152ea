"""Checks sentinels: every batch ends, in time, and a batch that counts as done is."""

from akkordeon.gate.actor import GateActor
from akkordeon.messages.batches import (
    ALREADY_APPLIED,
    NON_FINITE,
    NOTHING_TO_LEARN,
    TOO_STALE,
    Backward,
    BatchId,
    Route,
)
from akkordeon.messages.leases import Orders
from akkordeon.sentinel.actor import SentinelActor
from akkordeon.sentinel.in_flight import TO_BEGIN
from tests.properties.simulation import private
from tests.properties.simulation.records import Life, Records, Watched
from tests.properties.simulation.stub import Loader

PATIENCE = 4.0
"""Seconds after its time limit within which a batch must have been given up: gates tell of it once per second."""

MISSING = 15.0
"""Likewise, if no gate has it: that must be heard from all gates."""

HELD = 5.0
"""Seconds after which everybody must know that a gate has a batch in hand."""


class SentinelWatch(Records):
    """Looks at sentinels."""

    def look_at_sentinel(self, actor: SentinelActor, name: str, message: object) -> None:
        """See what it has done in a turn."""
        watched = self.sentinels.get(name)
        if watched is None:
            assert isinstance(actor.sentinel.data, Loader)
            watched = self.sentinels[name] = Watched(actor, actor.sentinel.data.key)
        if isinstance(message, Orders):
            self._check_orders(watched, name, message)
        member = self.members.get(private.incarnation(actor))
        if member is not None and len(actor.in_flight) > member.window:
            self.violated(f"{name} has {len(actor.in_flight)} batches out, and may have {member.window}")
        if type(message).__name__ == "_Tick" and actor.chain is not None and not private.has_left(actor):
            self._check_age(watched, name)
        if actor.in_flight.resent > watched.resent:
            watched.resent = actor.in_flight.resent
            self._check_resent(watched, name)
        if actor.epochs.done > watched.done or not actor.in_flight:
            watched.back = self.engine.time
        if actor.epochs.done > watched.done:
            watched.done = actor.epochs.done
            if isinstance(message, Backward):
                self._check_done(watched, name, message)
        self._check_mailbox(name)

    def _check_orders(self, watched: Watched, name: str, orders: Orders) -> None:
        """C13: a sentinel is told why its network has failed; and it keeps to the newest orders."""
        watched.told = watched.told or orders.cause is not None
        watched.newest = max(watched.newest, orders.number)
        known = private.orders(watched.actor)
        if known is None or known.number != watched.newest:
            self.violated(f"{name} keeps to orders {known and known.number}, and has got {watched.newest}")

    def _check_age(self, watched: Watched, name: str) -> None:
        """C2: in time, a batch comes back or is given up."""
        actor, limit = watched.actor, watched.actor.sentinel.time_limit
        now = self.engine.time + self.engine.bodies[name].host.offset
        late = self._hanging(limit + PATIENCE)
        for batch in actor.in_flight:
            unseen = self.engine.loses_messages and not batch.waits and now - batch.seen > TO_BEGIN + MISSING
            if unseen and not any(self._held(gate, batch.route) for gate in self._present_gates()):
                self.violated(f"{name} waits for {batch.route} since {now - batch.sent:.1f} s")
        if late and actor.in_flight and self.engine.time - watched.back > limit + PATIENCE:
            self.violated(f"{name} waits for what is behind {late}")

    def _check_resent(self, watched: Watched, name: str) -> None:
        """Only a new term has anything sent again that may come back: what no gate has, where messages may be lost."""
        for batch in watched.actor.in_flight:
            route = batch.route
            if watched.attempts.get(route.batch.seq, 1) == route.attempt:
                continue
            watched.attempts[route.batch.seq] = route.attempt
            if batch.patience == 1:  # in a new term
                continue
            if not self.engine.loses_messages:
                self.violated(f"{name} sends {route} again, and nothing was lost")
            for gate in self._present_gates():
                if (held := self._held(gate, route._replace(attempt=route.attempt - 1))) > HELD + self._slept(name):
                    self.violated(f"{name} sends {route} again, which {gate} has had for {held:.1f} s")

    def _present_gates(self) -> list[str]:
        """Return those that answer."""
        names = [lives[-1].actor for lives in self.lives.values()]
        return [name for name in names if isinstance(self.engine.actor(name), GateActor)]

    def _held(self, gate: str, route: Route) -> float:
        """Return for how long a gate has had an attempt of a batch; 0 if it does not have it."""
        actor, this = self.engine.actor(gate), route[:2]
        assert isinstance(actor, GateActor)
        waiting = [each.route[:2] for each in self.engine.bodies[gate].messages if hasattr(each, "route")]
        if private.term_of_gate(actor) != route.term or this not in [*waiting, *private.computing(actor)]:
            return 0.0
        return self.engine.time - self.arrived[gate, *this]

    def _slept(self, name: str) -> float:
        """Return for how long those stood still in all by which a sentinel knows what gates have."""
        names = (name, "conductor")
        return sum(self.engine.bodies[each].host.lost for each in names if each in self.engine.bodies)

    def _hanging(self, limit: float) -> list[BatchId]:
        """Return the batches that gates have been computing for longer than that, and would say so."""
        found = []
        for name in self._present_gates():
            actor, host = self.engine.actor(name), self.engine.bodies[name].host
            if isinstance(actor, GateActor) and not (host.lost or host.offset):
                running = private.computing(actor).items()
                found += [batch for (batch, _), began in running if self.engine.time - began > limit]
        return found

    def _check_mailbox(self, name: str) -> None:
        self.counts["mailbox"] = max(self.counts["mailbox"], len(self.engine.bodies[name].messages))

    def _check_done(self, watched: Watched, name: str, message: Backward) -> None:
        """C4: each gate of the term has applied the batch, or said why not."""
        route, trail = message.route, message.trail
        batch = (watched.key, route.batch.seq)
        orders = private.orders(watched.actor)
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
                fine = batch in self.trouble.lossless or watched.actor.error is not None or bool(self.trouble.overflows)
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
