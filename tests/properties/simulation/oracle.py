"""Watches a simulated network and says which promise of docs/contract.md (C1 to C13) it breaks.

It looks at every event, so it must be cheap: most checks are one comparison per turn. It trusts messages, the stub of
the gates' computation, and the state of the conductor; it reads other fields of actors through `private` alone.
"""

from collections.abc import Callable
from functools import partial

from akkordeon.conductor.actor import Conductor
from akkordeon.conductor.requests import Attach, Set
from akkordeon.conductor.state import ConductorState, Member
from akkordeon.engines import Stepped
from akkordeon.gate.actor import GateActor
from akkordeon.messages.batches import Backward, Forward, Validate
from akkordeon.messages.leases import Alive, Copy
from akkordeon.messages.reports import Alarm, Failure
from akkordeon.sentinel.actor import SentinelActor
from tests.properties.simulation import private
from tests.properties.simulation.gate_watch import SLACK, GateWatch
from tests.properties.simulation.records import EXPECTED, Died, Terms
from tests.properties.simulation.sentinel_watch import SentinelWatch
from tests.properties.simulation.stub import Trouble


class Oracle(GateWatch, SentinelWatch):
    """Looks at the conductor itself, and lets gates and sentinels be looked at."""

    def __init__(self, engine: Stepped, terms: Terms, trouble: Trouble) -> None:
        super().__init__(engine, terms, trouble)
        self._looks: dict[str, Callable[[str, object], None]] = {}
        self._published = 0
        self.state = ConductorState()
        engine.observers.append(self.saw)

    def saw(self, event: str, name: str, message: object) -> None:
        """Take in an event."""
        if event == "turn":
            look = self._looks.get(name) or self._look_at(name)
            look(name, message)
        elif event == "arrives":
            if isinstance(message, Forward | Backward | Validate):
                self.arrived[name, message.route.batch, message.route.attempt] = self.engine.time
        elif event == "ends":
            self._looks.pop(name, None)
            self._ends(name, message)

    def _look_at(self, name: str) -> Callable[[str, object], None]:
        """Return what looks at the turns of an actor."""
        actor = self.engine.actor(name)
        look: Callable[[str, object], None] = _look_away
        if isinstance(actor, GateActor):
            look = partial(self.look_at_gate, actor, self.by_actor[name])
        elif isinstance(actor, SentinelActor):
            look = partial(self.look_at_sentinel, actor)
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
                    self._down_term = self.state.term
        elif (watched := self.sentinels.get(name)) is not None:
            watched.ended = self.engine.time
            watched.crashed = reason is not None
        if isinstance(reason, Died):
            self.engine.inject("conductor dies", name)
        if reason is not None and not isinstance(reason, EXPECTED):
            self.violated(f"{name} has failed: {reason!r}")

    def _conduct(self, conductor: Conductor, name: str, message: object) -> None:
        if conductor is not self.conductor:
            self.conductor, self._published = conductor, 0
        self._listen(conductor)
        match message:
            case Alive(actor, number):
                if (life := self.by_actor.get(actor.name)) is not None:
                    life.leased = max(life.leased, life.signs.get(number, 0.0) + self.terms.lease)
            case Copy(actor, state):
                if actor.name in self.state.gates.values():
                    self.banked[state.name] = max(self.banked.get(state.name, 0), state.version)
            case Attach() | Set():
                self._admit(list(self.state.sentinels.values()))
        if self.state.cause is not None and self.cause is None:
            self._fails(self.state.cause)

    def _listen(self, conductor: Conductor) -> None:
        """Take in what users are told."""
        for notice in private.events(conductor, self._published):
            self._published += 1
            if isinstance(notice.event, Failure):
                self.failures.append(str(notice.event.error))
            self.counts["stalls"] += isinstance(notice.event, Alarm) and "nothing has moved" in notice.event.text

    def _admit(self, members: list[Member]) -> None:
        """C8: no more is let in than there is room for."""
        self.members.update((each.incarnation, each) for each in members)
        training = sum(each.window for each in members if each.kind == "train")
        windows = sum(each.window for each in members)
        self.most_training, self.most_windows = max(self.most_training, training), max(self.most_windows, windows)
        bound = self.terms.max_staleness
        if windows > self.terms.capacity or (bound is not None and training > bound + 1):
            self.violated(f"sentinels with {windows} batches in flight were let in, {training} of them in training")

    def _fails(self, cause: str) -> None:
        """C13: only beyond the limit of restarts."""
        self.cause, now = cause, self.engine.time
        recent = [
            sum(life.born > now - self.terms.within - SLACK for life in lives if life.term > 1)
            for lives in self.lives.values()
        ]
        if max(recent) < self.terms.restarts:
            self.violated(f"the network has failed after {max(recent)} restarts: {self.cause}")

    def roster(self) -> list[str]:
        """The actors of the gates as their conductor knows them."""
        return list(self.state.gates.values())


def _look_away(name: str, message: object) -> None:
    """Look at nothing."""
