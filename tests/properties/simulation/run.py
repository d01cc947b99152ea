"""Runs a scenario on the simulation engine, under the eyes of the oracle."""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest import mock

from torch import nn

from akkordeon.sentinel import actor as sentinel_actor
from akkordeon.actor import Inbox, Ref
from akkordeon.conductor.actor import Conductor
from akkordeon.conductor.limits import Limits
from akkordeon.conductor.requests import Attach, Detach, Open, Pause, Paused, Resume
from akkordeon.conductor.state import Register, Vault
from akkordeon.engines import Stepped
from akkordeon.engines.simulation import links
from akkordeon.errors import ActorFailed
from akkordeon.gate.actor import GateActor
from akkordeon.gate.description import Gate
from akkordeon.messages.leases import Copy
from tests.properties.simulation.oracle import Oracle
from tests.properties.simulation.records import Died, Terms
from tests.properties.simulation.scenario import Act, Scenario
from tests.properties.simulation.stub import StubJudge, StubLearner
from tests.properties.simulation.verdict import dropped, judge, judge_flavour, leftovers

__all__ = ["Outcome", "Run", "simulate"]

GATES = tuple(Gate(f"g{number}", nn.Identity()) for number in range(1, 6))
LONGEST = 240.0
"""Virtual seconds in which everything must have ended."""

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


@dataclass
class SimVault(Vault):
    """A vault that the oracle sees, and that its conductor may die at."""

    oracle: Oracle
    dies_at: dict[int, bool]
    writes: int = 0
    register: Register | None = None
    copies: dict[str, Copy] = field(default_factory=dict)

    def write(self, register: Register) -> None:
        self.writes += 1
        after = self.dies_at.get(self.writes)
        if after is False:
            raise Died("before writing")
        there_and_back = Register.from_json(register.to_json())
        if there_and_back != register:
            self.oracle.violated(f"the register changes on its way to a file and back: {register}")
        self.register = there_and_back
        if after is True:
            raise Died("after writing")

    def put(self, copy: Copy) -> None:
        self.oracle.banks(copy, self.copies.get(copy.state.name))
        super().put(copy)


class Run:
    """One simulated network."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        settings = scenario.supervision
        self.engine = Stepped(scenario.seed, delays=scenario.delays, faults=scenario.faults)
        terms = Terms(
            settings.lease,
            settings.copy_every,
            settings.restarts,
            settings.within,
            scenario.capacity,
            scenario.max_staleness,
        )
        self.oracle = Oracle(self.engine, terms, scenario.trouble)
        self.vault = SimVault(self.oracle, dict(scenario.dies_at))
        self.conductor: Ref | None = None
        self.inboxes = 0
        self.saving: Inbox | None = None
        self.copying = 0

    def play(self) -> Outcome:
        """Run it to its end."""
        with _stubs(held_back=100.0 if self.scenario.flavour == "reordering" else links.HELD_BACK):
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
        while not self.oracle.violations and self.engine.time < LONGEST and not self._over():
            self._run_until(self.engine.time + 1.0)
        patience = self.engine.time + AFTERMATH
        while not self.oracle.violations and self.engine.time < patience and any(leftovers(self.oracle)):
            self._run_until(self.engine.time + 1.0)
        if not self.oracle.violations:
            judge(self.oracle)
            judge_flavour(self.scenario, self.oracle)

    def _over(self) -> bool:
        conductor = self.oracle.conductor
        if conductor is None or (conductor._gates.chain is None and conductor._gates.cause is None):
            return False
        ended = not len(conductor._members) and self.saving is None
        return ended and self.engine.time > self.scenario.faults.until and self._is_alive()

    def _run_until(self, time: float) -> None:
        while self.engine.time < time and not self.oracle.violations:
            self.engine.run(seconds=min(1.0, time - self.engine.time))
            self._look_after()

    def _look_after(self) -> None:
        """Do what the outside does when something happens: make another conductor, end a save."""
        while not self._is_alive():
            self._conduct()
        if self.saving is not None:
            self._resume(self.saving)

    def _is_alive(self) -> bool:
        return self.conductor is not None and self.engine.bodies.get("conductor") is not None

    def _conduct(self) -> None:
        gates = GATES[: self.scenario.gates]
        stub: Any = partial(StubLearner, self.oracle)
        life = partial(GateActor, learner=stub)
        limits = Limits(self.scenario.max_staleness, self.scenario.capacity)
        make = partial(
            Conductor, "sim", gates, settings=self.scenario.supervision, limits=limits, vault=self.vault, life=life
        )
        self.conductor = self.engine.spawn("conductor", make)
        try:
            self.conductor.ask(Open(), timeout=60.0)
        except ActorFailed as error:
            self._was_killed(error)

    def _was_killed(self, error: ActorFailed) -> None:
        if not isinstance(error.__cause__, Died):
            self.oracle.violated(f"the conductor has failed: {error.__cause__!r}")

    def _do(self, act: Act) -> None:
        while not self._is_alive():
            self._conduct()
        assert self.conductor is not None
        if act.what == "attach":
            assert act.sentinel is not None
            self._attach(act)
        elif act.what == "detach":
            assert act.sentinel is not None
            self.conductor.tell(Detach(act.sentinel.name, self._inbox().ref))
        elif act.what == "save" and self.saving is None:
            self.saving, self.copying = self._inbox(), COPYING
            self.conductor.tell(Pause(self.saving.ref, 10.0))
        elif act.what == "sleep":
            self.engine.pause(self.conductor, act.seconds)
        elif act.what == "kill":
            self.engine.inject("conductor dies", "conductor")
            self.engine.crash(self.conductor)
            self._run_until(self.engine.time + 1.0 + self.scenario.seed % 4)

    def _attach(self, act: Act) -> None:
        assert self.conductor is not None
        assert act.sentinel is not None
        try:
            self.conductor.ask(Attach(act.sentinel), timeout=60.0)
        except ActorFailed as error:
            self._was_killed(error)
            self._do(act)

    def _inbox(self) -> Inbox:
        self.inboxes += 1
        return self.engine.inbox(f"outside {self.inboxes}")

    def _resume(self, inbox: Inbox) -> None:
        """Once all stand still, let them go on."""
        assert self.conductor is not None
        notices = list(getattr(inbox, "_messages"))  # noqa: B009 - private
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
        attached = {each.actor for each in conductor._members.members if each.kind == "train"}
        if conductor._pauses.number is not None and attached & set(moving):
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
            failed=None if oracle.cause is None else str(oracle.cause),
            digest=engine.digest,
            steps=engine.steps,
            seconds=engine.time,
        )


@contextmanager
def _stubs(held_back: float) -> Iterator[None]:
    """Let sentinels judge tokens, and log nothing; what is held back, is so for so many times as long as usual."""
    logging.disable(logging.ERROR)
    try:
        judging = mock.patch.object(sentinel_actor, "LossAndMetrics", StubJudge)
        with judging, mock.patch.object(links, "HELD_BACK", held_back):
            yield
    finally:
        logging.disable(logging.NOTSET)


def simulate(scenario: Scenario) -> Outcome:
    """Run a scenario, and say what came out."""
    return Run(scenario).play()
