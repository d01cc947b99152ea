"""Checks sentinels: every batch ends, in time, and a batch that counts as done is."""

from akkordeon.messages.batches import ALREADY_APPLIED, NON_FINITE, NOTHING_TO_LEARN, TOO_STALE, Backward
from akkordeon.messages.leases import Orders
from akkordeon.sentinel.actor import SentinelActor
from tests.properties.simulation import private
from tests.properties.simulation.records import Life, Records, Watched
from tests.properties.simulation.stub import Loader

PATIENCE = 2.5
"""Seconds after its time limit within which a batch must have been given up: it is looked for once per second."""


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
            self._check_age(actor, name)
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

    def _check_age(self, actor: SentinelActor, name: str) -> None:
        """C2: in time, a batch comes back or is given up."""
        now = self.engine.time + self.engine.bodies[name].host.offset
        oldest = actor.in_flight.oldest
        if oldest is not None and not oldest.waits and now - oldest.sent > actor.sentinel.time_limit + PATIENCE:
            self.violated(f"{name} waits for {oldest.route} since {now - oldest.sent:.1f} s")

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
