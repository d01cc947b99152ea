"""A conductor takes over where another one ended, from the state that this one left."""

from functools import partial

import pytest

from akkordeon.actor import Ref
from akkordeon.conductor.actor import Conductor
from akkordeon.conductor.requests import Attach, Open, Roster, Who
from akkordeon.conductor.state import ConductorState
from akkordeon.engines import Stepped
from akkordeon.messages.reports import SentinelStatus
from akkordeon.messages.states import StatusOf
from akkordeon.sentinel.description import Sentinel
from tests.networks import gates, training, validation


class Succession:
    """A network whose conductor can die; another one takes over from its state."""

    def __init__(self, seed: int) -> None:
        self.engine = Stepped(seed)
        self.state = ConductorState()
        self.number = 0
        self.conductor: Ref
        self.take_over()

    def take_over(self) -> None:
        self.number += 1
        make = partial(Conductor, "network", gates(), state=self.state)
        self.conductor = self.engine.spawn(f"conductor {self.number}", make)
        self.conductor.ask(Open(), timeout=5)

    def die(self) -> None:
        self.engine.stop(self.conductor)

    def roster(self) -> Roster:
        found: Roster = self.conductor.ask(Who(), timeout=5)
        return found

    def attach(self, sentinel: Sentinel) -> None:
        assert self.conductor.ask(Attach(sentinel), timeout=5) is None

    def sentinels(self) -> list[SentinelStatus]:
        return [ref.ask(StatusOf(), timeout=5) for ref in self.roster().sentinels]

    def versions(self) -> list[int]:
        return [ref.ask(StatusOf(), timeout=5).version for ref in self.roster().gates]

    def run_until_done(self, batches: int) -> None:
        while self.sentinels()[0].done < batches:
            self.engine.run(seconds=0.01)

    def run_to_its_end(self) -> None:
        deadline = self.engine.time + 60.0
        while self.roster().sentinels:
            assert self.engine.time < deadline
            self.engine.run(seconds=1.0)


@pytest.mark.parametrize("seed", range(3))
def test_another_conductor_goes_on_where_one_has_ended(seed: int) -> None:
    succession = Succession(seed)
    succession.attach(training(in_flight=3, sizes=[5] * 60, epochs=1))
    succession.run_until_done(10)
    succession.die()
    succession.engine.run(seconds=0.05)  # batches go on without one
    succession.take_over()
    assert [each.name for each in succession.sentinels()] == ["train"]
    succession.run_to_its_end()
    assert succession.versions() == [60, 60, 60]
    assert [ref.name for ref in succession.roster().gates] == ["gate stem", "gate body", "gate head"]
    succession.engine.close()


def test_what_ended_while_there_was_no_conductor_is_noticed() -> None:
    succession = Succession(1)
    succession.attach(training(in_flight=3, sizes=[5] * 60, epochs=1))
    succession.attach(validation(every=1000.0))
    succession.run_until_done(10)
    succession.die()
    for name in ("gate body", "sentinel validation"):
        succession.engine.stop(succession.engine.find(name))
    succession.take_over()
    assert [each.name for each in succession.sentinels()] == ["train"]
    succession.run_to_its_end()
    assert [ref.name for ref in succession.roster().gates] == ["gate stem", "gate#2 body", "gate head"]
    stem, body, head = succession.versions()
    assert stem == head == 60
    assert 60 - 20 <= body <= 60 + 3
    succession.engine.close()


def test_a_network_that_had_failed_stays_failed() -> None:
    succession = Succession(1)
    succession.die()
    succession.state.cause = "gate body has failed"
    succession.take_over()
    assert str(succession.roster().cause) == "gate body has failed"
    refusal = succession.conductor.ask(Attach(training()), timeout=5)
    assert "the network has failed: gate body has failed" in str(refusal)
    succession.engine.close()


def test_names_and_incarnations_go_on_too() -> None:
    succession = Succession(1)
    succession.attach(training())
    succession.die()
    succession.take_over()
    refusal = succession.conductor.ask(Attach(training()), timeout=5)
    assert "a sentinel named 'train' is attached" in str(refusal)
    succession.attach(training("other"))
    state = succession.state
    assert [(each.name, each.incarnation) for each in state.sentinels.values()] == [("train", 1), ("other", 2)]
    assert state.conductors == 2
    succession.engine.close()
