"""Runs a scenario on the simulation engine, under the eyes of the oracle."""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import partial
from typing import Any
from unittest import mock

from torch import nn

from akkordeon.actor import Inbox, Ref
from akkordeon.conductor import gates as conductor_gates
from akkordeon.conductor.actor import Conductor
from akkordeon.conductor.requests import Attach, Detach, Open, Pause, Paused, Resume, Set
from akkordeon.conductor.sentinels import Limits
from akkordeon.conductor.state import ConductorState
from akkordeon.engines import Stepped
from akkordeon.engines.simulation import links
from akkordeon.errors import ActorFailed
from akkordeon.gate.actor import GateActor
from akkordeon.gate.description import Gate
from akkordeon.messages.leases import Copy
from akkordeon.sentinel import actor as sentinel_actor
from tests.properties.simulation import private
from tests.properties.simulation.oracle import Oracle
from tests.properties.simulation.records import Died, Terms
from tests.properties.simulation.scenario import Act, Scenario
from tests.properties.simulation.stub import StubJudge, StubLearner
from tests.properties.simulation.verdict import dropped, judge, judge_flavour, leftovers

GATES = tuple(Gate(f"g{number}", nn.Identity()) for number in range(1, 6))
LONGEST = 240.0
"""Virtual seconds in which everything must have ended, unless it is slow."""

SLOWEST = 10_000.0
"""Likewise, if it is slow."""

COPYING = 4
"""How often it is looked, within a second each time, whether all stand still while the network is saved."""

AFTERMATH = 20.0
"""Virtual seconds in which the last traces must be gone once nothing goes wrong any more."""


@dataclass
class Outcome:
    """What came out."""

    seed: int
    flavour: str
    violations: list[str]
    faults: Counter[str]
    counts: Counter[str]
    dropped: Counter[str]
    recovery: list[float]
    failed: str | None
    digest: str
    steps: int
    seconds: float

    def line(self) -> str:
        """Return it as one line of JSON."""
        values = {
            "seed": self.seed,
            "flavour": self.flavour,
            "engine": "stepped",
            "faults_injected": dict(self.faults),
            "batches_dropped": dict(self.dropped),
            **self.counts,
            "seconds_to_recover": percentiles(self.recovery),
            "failed": self.failed,
            "violations": self.violations,
        }
        return json.dumps(values)


def percentiles(values: list[float]) -> dict[str, float]:
    """Return the median, the 95th percentile and the largest."""
    ordered = sorted(values)
    if not ordered:
        return {}
    pick = {"p50": len(ordered) // 2, "p95": len(ordered) * 95 // 100, "max": len(ordered) - 1}
    return {name: round(ordered[index], 3) for name, index in pick.items()}


class SimState(ConductorState):
    """The state of the simulated conductors: one that dies loses what it has not written, and may die at a write."""

    def __init__(self, oracle: Oracle, dies_at: dict[int, bool]) -> None:
        super().__init__()
        self.writes = 0
        self._oracle = oracle
        self._dies_at = dies_at
        self._written = self._values()

    def write(self) -> None:
        self.writes += 1
        after = self._dies_at.get(self.writes)
        if after is False:
            raise Died("before writing")
        self._written = self._values()
        if after is True:
            raise Died("after writing")

    def keep(self, copy: Copy) -> None:
        self._oracle.banks(copy, self.copies.get(copy.state.name))
        super().keep(copy)

    def lose_what_is_not_written(self) -> None:
        """Go back to the last write; copies are written as they come."""
        for name, value in deepcopy(self._written).items():
            setattr(self, name, value)

    def _values(self) -> dict[str, object]:
        names = [each.name for each in fields(self) if each.name != "copies"]
        return deepcopy({name: getattr(self, name) for name in names})


class Run:
    """One simulated network."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        settings = scenario.supervision
        self.engine = Stepped(scenario.seed, delays=scenario.delays, faults=scenario.faults, workers=scenario.workers)
        terms = Terms(
            settings.lease,
            settings.copy_every,
            settings.restarts,
            settings.within,
            scenario.capacity,
            scenario.max_staleness,
        )
        self.oracle = Oracle(self.engine, terms, scenario.trouble)
        self.oracle.state = self.state = SimState(self.oracle, dict(scenario.dies_at))
        self.conductor: Ref | None = None
        self.inboxes = 0
        self.saving: Inbox | None = None
        self.copying = 0

    def play(self) -> Outcome:
        """Run it to its end."""
        with _stubs(self.oracle, held_back=100.0 if self.scenario.flavour == "reordering" else links.HELD_BACK):
            try:
                for act in self.scenario.acts:
                    self._run_until(act.at)
                    if self.oracle.violations:
                        break
                    self._do(act)
                self._finish()
            finally:
                self.engine.close()
        return self._outcome()

    def _finish(self) -> None:
        longest = SLOWEST if self.scenario.flavour in ("patient", "slow") else LONGEST
        while not self.oracle.violations and self.engine.time < longest and not self._over():
            self._run_until(self.engine.time + 1.0)
        patience = self.engine.time + AFTERMATH
        while not self.oracle.violations and self.engine.time < patience and any(leftovers(self.oracle)):
            self._run_until(self.engine.time + 1.0)
        if not self.oracle.violations:
            judge(self.oracle)
            judge_flavour(self.scenario, self.oracle)

    def _over(self) -> bool:
        conductor, state = self.oracle.conductor, self.oracle.state
        if conductor is None or not (private.gates_are_wired(conductor) or state.cause):
            return False
        ended = not state.sentinels and self.saving is None
        return ended and self.engine.time > self.scenario.faults.until and self._is_alive()

    def _run_until(self, time: float) -> None:
        while self.engine.time < time and not self.oracle.violations:
            self.engine.run(seconds=min(1.0, time - self.engine.time))
            self._look_after()

    def _look_after(self) -> None:
        """Do what the outside does when something happens: make another conductor, end a save."""
        self._conduct_if_nobody_does()
        if self.saving is not None:
            self._resume(self.saving)

    def _is_alive(self) -> bool:
        return self.conductor is not None and self.engine.bodies.get("conductor") is not None

    def _conduct_if_nobody_does(self) -> None:
        while not self._is_alive() and not self.oracle.violations:
            self._conduct()

    def _conduct(self) -> None:
        gates = GATES[: self.scenario.gates]
        self.state.lose_what_is_not_written()
        limits = Limits(self.scenario.max_staleness, self.scenario.capacity)
        make = partial(Conductor, "sim", gates, settings=self.scenario.supervision, limits=limits, state=self.state)
        self.conductor = self.engine.spawn("conductor", make)
        try:
            self.conductor.ask(Open(), timeout=60.0)
        except ActorFailed as error:
            self._was_killed(error)

    def _was_killed(self, error: ActorFailed) -> None:
        if not isinstance(error.__cause__, Died):
            self.oracle.violated(f"the conductor has failed: {error.__cause__!r}")

    def _do(self, act: Act) -> None:
        self._conduct_if_nobody_does()
        assert self.conductor is not None
        if self.oracle.violations:
            return
        if act.what == "attach":
            assert act.sentinel is not None
            self._ask(Attach(act.sentinel), act)
        elif act.what == "detach":
            assert act.sentinel is not None
            self.conductor.tell(Detach(act.sentinel.name, self._inbox().ref))
        elif act.what == "widen":
            assert act.sentinel is not None
            self._ask(Set(act.sentinel.name, {"in_flight": act.window}), act)
        elif act.what == "save" and self.saving is None:
            self.saving, self.copying = self._inbox(), COPYING
            self.conductor.tell(Pause(self.saving.ref, 10.0))
        elif act.what == "sleep":
            self.engine.pause(self.conductor, act.seconds)
        elif act.what == "kill":
            self.engine.inject("conductor dies", "conductor")
            self.engine.crash(self.conductor)
            self._run_until(self.engine.time + 1.0 + self.scenario.seed % 4)

    def _ask(self, request: Attach | Set, act: Act) -> None:
        assert self.conductor is not None
        try:
            self.conductor.ask(request, timeout=60.0)
        except ActorFailed as error:
            self._was_killed(error)
            self._do(act)

    def _inbox(self) -> Inbox:
        self.inboxes += 1
        return self.engine.inbox(f"outside {self.inboxes}")

    def _resume(self, inbox: Inbox) -> None:
        """Once all stand still, let them go on."""
        assert self.conductor is not None
        notices = private.waiting(inbox)
        paused = bool(notices) and isinstance(notices[0], Paused) and notices[0].error is None
        if paused:
            self._check_stand_still()
            self.copying -= 1
        if self.copying == 0 or (notices and not paused) or self.engine.time > self.scenario.faults.until:
            self.conductor.tell(Resume(inbox.ref))
            self.saving = None

    def _check_stand_still(self) -> None:
        conductor = self.oracle.conductor
        assert conductor is not None
        moving = [
            name
            for name, watched in self.oracle.sentinels.items()
            if watched.ended is None and watched.actor.sentinel.kind == "train" and watched.actor.in_flight
        ]
        attached = {each.actor for each in self.oracle.state.sentinels.values() if each.kind == "train"}
        if private.is_paused(conductor) and attached & set(moving):
            self.oracle.violated(f"the network is said to stand still, and {moving} are moving")

    def _outcome(self) -> Outcome:
        oracle, engine = self.oracle, self.engine
        return Outcome(
            seed=self.scenario.seed,
            flavour=self.scenario.flavour,
            violations=oracle.violations,
            faults=engine.injected,
            counts=oracle.counts,
            dropped=dropped(oracle),
            recovery=oracle.recovery,
            failed=oracle.cause,
            digest=engine.digest,
            steps=engine.steps,
            seconds=engine.time,
        )


@contextmanager
def _stubs(oracle: Oracle, held_back: float) -> Iterator[None]:
    """Replace the computation of gates and sentinels, and log nothing; set how much longer reordered messages take."""
    logging.disable(logging.ERROR)
    learner: Any = partial(StubLearner, oracle)
    computing = mock.patch.object(conductor_gates, "GateActor", partial(GateActor, learner=learner))
    judging = mock.patch.object(sentinel_actor, "LossAndMetrics", StubJudge)
    try:
        with computing, judging, mock.patch.object(links, "HELD_BACK", held_back):
            yield
    finally:
        logging.disable(logging.NOTSET)


def simulate(scenario: Scenario) -> Outcome:
    """Run a scenario, and say what came out."""
    return Run(scenario).play()
