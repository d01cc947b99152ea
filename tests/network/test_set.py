"""Settings that change while a network runs: what is refused, what survives, and who is told."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import ExponentialLR

from akkordeon import ActorNotFound, Gate, Network, Supervision, WiringError, launch
from akkordeon.actor import Ref
from akkordeon.conductor.requests import Roster, Set, Who
from akkordeon.messages.states import StateOf
from akkordeon.testing import crash
from tests.conductor.test_state import Succession
from tests.network.patience import wait_until
from tests.networks import gates, stepped, training, validation

LONG = [5] * 2000


@pytest.fixture
def network() -> Iterator[Network]:
    with launch(gates(), engine=stepped()) as network:
        yield network


def group_of(gate: Ref) -> dict[str, Any]:
    found: dict[str, Any] = gate.ask(StateOf(whole=True), timeout=5).rest["optimizer"]["param_groups"][0]
    return found


def groups(network: Network) -> list[dict[str, Any]]:
    roster: Roster = network.conductor.ask(Who(), timeout=5)
    return [group_of(gate) for gate in roster.gates]


def windows(network: Network) -> dict[str, int]:
    return {each.name: each.window for each in network.status().sentinels}


def test_a_window_may_be_lowered_and_raised(network: Network) -> None:
    network.attach(training(in_flight=3, sizes=LONG))
    for window in (1, 8, 20, 2):
        network.set("train", in_flight=window)
        wait_until(network, lambda window=window: windows(network) == {"train": window})  # type: ignore[misc]
        wait_until(network, lambda window=window: network.status().sentinels[0].in_flight == window)  # type: ignore[misc]
    network.set("train", in_flight=20)
    wait_until(network, lambda: network.status().sentinels[0].in_flight == 20)


def test_any_kind_of_sentinel_has_a_window(network: Network) -> None:
    network.attach(validation(every=1.0))
    network.set("validation", in_flight=2)
    wait_until(network, lambda: windows(network) == {"validation": 2})


def test_a_setting_reaches_its_gate_alone(network: Network) -> None:
    network.set("body", lr=0.5, momentum=0.9)
    wait_until(network, lambda: groups(network)[1]["lr"] == 0.5)
    assert [(each["lr"], each["momentum"]) for each in groups(network)] == [(0.1, 0), (0.5, 0.9), (0.1, 0)]


@pytest.mark.parametrize(
    ("name", "settings", "kind", "said"),
    [
        ("boddy", {"lr": 1.0}, ActorNotFound, "neither a gate nor a sentinel 'boddy'.*: gates stem, body, head; senti"),
        ("train", {"lr": 1.0}, WiringError, "sentinel 'train' has no setting 'lr'; it has: in_flight"),
        ("train", {"in_flight": 0}, WiringError, "in_flight must be a whole number, at least 1, not 0"),
        ("train", {"in_flight": True}, WiringError, "in_flight must be a whole number, at least 1, not True"),
        ("train", {"in_flight": 2.0}, WiringError, r"in_flight must be a whole number, at least 1, not 2\.0"),
        ("train", {"in_flight": 1025}, WiringError, "but at most 1024: capacity=1024 holds for all"),
        ("train", {}, WiringError, "say what to set of 'train', such as in_flight=1"),
        ("stem", {"in_flight": 1}, WiringError, "no setting 'in_flight'; its SGD has: dampening, lr, momentum, weight"),
        ("stem", {"nesterov": True}, WiringError, "gate 'stem' has no setting 'nesterov'"),
        ("stem", {"lr": float("nan")}, WiringError, "gate 'stem': lr must be a number, not nan"),
        ("stem", {"lr": "fast"}, WiringError, "gate 'stem': lr must be a number, not 'fast'"),
        ("stem", {"lr": -1.0}, WiringError, r"gate 'stem' cannot have lr=-1\.0: Invalid learning rate"),
    ],
)
def test_what_cannot_be_set_is_refused(
    network: Network, name: str, settings: dict[str, Any], kind: type[Exception], said: str
) -> None:
    network.attach(training(sizes=LONG))
    with pytest.raises(kind, match=said):
        network.set(name, **settings)


def test_settings_are_taken_together_or_not_at_all(network: Network) -> None:
    with pytest.raises(WiringError, match="cannot have"):
        network.set("stem", lr=0.5, momentum=-1.0)
    network.set("body", lr=0.7)
    wait_until(network, lambda: groups(network)[1]["lr"] == 0.7)
    assert groups(network)[0]["lr"] == 0.1


def test_a_gate_and_a_sentinel_of_one_name_cannot_be_told_apart(network: Network) -> None:
    network.attach(training("stem", sizes=LONG))
    with pytest.raises(WiringError, match="a gate and a sentinel are named 'stem'"):
        network.set("stem", in_flight=2)


def test_a_gate_without_parameters_has_nothing_to_be_set() -> None:
    with (
        launch([Gate("flat", nn.Flatten()), *gates()], engine=stepped()) as network,
        pytest.raises(WiringError, match="gate 'flat' has no trainable parameters"),
    ):
        network.set("flat", lr=0.1)


def test_the_bound_on_staleness_holds_and_it_is_said_who_has_what() -> None:
    with launch(gates(), engine=stepped(), max_staleness=5) as network:
        network.attach(training("one", in_flight=2, sizes=LONG))
        network.attach(training("two", in_flight=2, sizes=LONG))
        network.set("one", in_flight=4)
        with pytest.raises(
            WiringError, match=r"'two' cannot have in_flight=3, but at most 2: max_staleness=5 .* others are 'one' 4"
        ):
            network.set("two", in_flight=3)
        wait_until(network, lambda: windows(network) == {"one": 4, "two": 2})


def test_a_gate_that_is_made_anew_keeps_what_was_set(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    with launch(gates(), engine=stepped(), supervision=Supervision(backoff=(0.0,))) as network:
        network.set("stem", lr=0.3)
        network.attach(training(in_flight=2, sizes=[5] * 200, epochs=1))
        wait_until(network, lambda: network.status().gates[0].version > 30)
        crash(network, "stem")
        list(network.watch())
        assert network.status().restarts == 1
        assert groups(network)[0]["lr"] == 0.3


def test_a_schedule_is_not_set_back_by_a_restart() -> None:
    """A copy that was made after the change holds it; were it made again, the rate would be what it was then."""
    scheduled = [Gate("only", nn.Linear(4, 3), partial(SGD, lr=0.1), scheduler=partial(ExponentialLR, gamma=0.99))]
    every = Supervision(copy_every=1, copy_share=1.0, backoff=(0.0,))
    with launch(scheduled, engine=stepped(), supervision=every) as network:
        network.set("only", lr=0.5)
        network.attach(training(sizes=[5] * 60, epochs=1))
        wait_until(network, lambda: network.status().gates[0].version > 30)
        crash(network, "only")
        list(network.watch())
        assert network.status().gates[0].version == 60
        assert groups(network)[0]["lr"] == pytest.approx(0.5 * 0.99**60)


@pytest.mark.parametrize("seed", range(3))
def test_what_was_set_outlives_the_conductor_and_gates_that_end_with_it(seed: int) -> None:
    net = Succession(seed)
    net.attach(training("train", in_flight=4, sizes=LONG))
    net.run_until_done(20)
    assert net.conductor.ask(Set("train", {"in_flight": 2}), timeout=5) is None
    assert net.conductor.ask(Set("stem", {"lr": 0.25}), timeout=5) is None
    stem = net.roster().gates[0]
    net.die()
    net.engine.stop(stem)
    net.take_over()
    assert net.conductor.ask(Set("stem", {"momentum": 0.5}), timeout=5) is None
    net.run_until_done(60)
    group = group_of(net.roster().gates[0])
    assert (group["lr"], group["momentum"]) == (0.25, 0.5)
    assert net.sentinels()[0].window == 2
    net.engine.close()


def test_a_save_holds_the_settings_and_what_is_launched_from_it_can_be_set_anew(tmp_path: Any) -> None:
    def made() -> list[Gate]:
        return [Gate("only", nn.Linear(4, 3), partial(AdamW, lr=0.1))]

    with launch(made(), engine=stepped()) as network:
        for lr in (0.2, 0.3):
            network.set("only", lr=lr)
        wait_until(network, lambda: groups(network)[0]["lr"] == 0.3)
        network.save(tmp_path)
    with launch(made(), engine=stepped(), resume=tmp_path) as network:
        assert groups(network)[0]["lr"] == 0.3
        network.set("only", lr=0.4)
        wait_until(network, lambda: groups(network)[0]["lr"] == 0.4)
