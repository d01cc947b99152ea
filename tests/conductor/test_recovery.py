"""What ends a gate costs the updates since its last copy, and nothing else: every batch ends, and training goes on."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Stepped, Threads
from akkordeon.testing import crash
from tests.network.patience import wait_until
from tests.waiting import limit

Batch = tuple[Tensor, Tensor]

AT_ONCE = ak.Supervision(restarts=1000, backoff=(0.0,), copy_every=1, copy_share=1.0)


def batches(num: int = 40) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(3)
    for _ in range(num):
        x = torch.randn(4, 6, generator=generator)
        yield x, x[:, :3].argmax(dim=1)


def gates(optimizer: Callable[..., torch.optim.Optimizer] = SGD, **settings: Any) -> list[ak.Gate]:
    make = partial(optimizer, lr=0.1)
    modules: Sequence[nn.Module] = (nn.Sequential(nn.Linear(6, 8), nn.Tanh()), nn.Linear(8, 8), nn.Linear(8, 3))
    names = ("stem", "body", "head")
    return [ak.Gate(name, module, make, **settings) for name, module in zip(names, modules, strict=True)]


def training(**settings: Any) -> ak.TrainingSentinel:
    values: dict[str, Any] = {"data": batches, "in_flight": 3, "epochs": 1}
    return ak.TrainingSentinel("train", loss=cross_entropy, **(values | settings))


def version(network: ak.Network, gate: str) -> int:
    return next((each.version for each in network.status().gates if each.name == gate), -1)


def is_whole(network: ak.Network) -> bool:
    return len(network.status().gates) == 3


@pytest.mark.parametrize("gate", ["stem", "body", "head"])
def test_a_gate_that_ends_is_restarted_and_every_batch_ends(engine: Engine, gate: str) -> None:
    with ak.launch(gates(), engine=engine, supervision=AT_ONCE) as network:
        network.attach(training(epochs=4))
        wait_until(network, lambda: version(network, gate) >= 10, what="updates")
        crash(network, gate)
        reports = list(network.watch())
        assert [report.samples for report in reports] == [160] * 4
        assert network.status().restarts == 1
        assert version(network, gate) >= 10
        # What was applied and not yet copied is all that is lost.
        assert all(each.version >= 160 - 3 for each in network.status().gates)
        assert all(each.open == 0 for each in network.status().gates)


def test_gates_that_end_at_once_both_come_back(engine: Engine) -> None:
    with ak.launch(gates(), engine=engine, supervision=AT_ONCE) as network:
        network.attach(training(epochs=2))
        wait_until(network, lambda: version(network, "head") >= 5, what="updates")
        for gate in ("head", "stem"):
            crash(network, gate)
        assert [report.samples for report in network.watch()] == [160] * 2
        assert network.status().restarts == 2


def test_a_gate_goes_on_from_its_copy_with_the_state_of_its_optimizer(engine: Engine) -> None:
    momentum = partial(SGD, momentum=0.9)
    with ak.launch(gates(momentum), engine=engine, supervision=AT_ONCE) as network:
        network.attach(training(in_flight=1))
        list(network.watch())
        before = network.engine.find("gate body").ask(_whole(), timeout=5)
        crash(network, "body")
        wait_until(network, lambda: is_whole(network), what="the gate")
        after = network.engine.find("gate#2 body").ask(_whole(), timeout=5)
    assert after.version == before.version == 40
    assert all(torch.equal(after.weights[name], before.weights[name]) for name in before.weights)
    buffers = [each.rest["optimizer"]["state"][0]["momentum_buffer"] for each in (before, after)]
    assert torch.equal(*buffers)


def _whole() -> object:
    from akkordeon.messages.states import StateOf  # noqa: PLC0415

    return StateOf(whole=True)


class Slips(SGD):
    """Raises in the middle of its thirtieth step, once: the first parameter has changed, the second has not."""

    steps, slips = 0, 1

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        Slips.steps += 1
        if Slips.steps > 30 and Slips.slips:
            Slips.slips -= 1
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(1e6)
            raise OSError("the step slipped")
        super().step()


def test_an_error_in_the_middle_of_an_update_leaves_no_torn_weights(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    Slips.steps, Slips.slips = 0, 1
    with ak.launch(gates(Slips), engine=engine, supervision=AT_ONCE) as network:
        network.attach(training())
        (report,) = network.watch()
        assert report.samples == 160
        assert network.status().restarts == 1
        assert "has ended: OSError: the step slipped; restarting it from version " in caplog.text
        assert all(tensor.abs().max() < 100 for tensor in network.state_dict().values())


class Poisoned(SGD):
    """Raises whenever the gradient is that of the poisoned batch, the only one with large inputs."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.abs().max() > 1e4:
                    raise ArithmeticError("poison")
        super().step()


def with_poison() -> Iterator[Batch]:
    for number, (x, target) in enumerate(batches()):
        # One large input with three different targets: wrong for some of them, so there is a gradient, and a large one.
        yield (torch.full_like(x, 1e9), torch.tensor([0, 1, 2, 0])) if number == 17 else (x, target)


def test_a_batch_that_ends_its_gate_each_time_is_dropped_and_named(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    chain = gates(Poisoned)
    # Nothing squashes what the first gate yields, so that the poison reaches its gradient.
    chain[0] = ak.Gate("stem", nn.Linear(6, 8), partial(Poisoned, lr=0.1))
    with ak.launch(chain, engine=engine, supervision=ak.Supervision(backoff=(0.0,))) as network:
        network.attach(training(data=with_poison))
        with caplog.at_level(logging.WARNING):
            (report,) = network.watch()
        status = network.status()
    assert report.skipped["poison"] == 1
    assert report.samples == 160 - 4
    assert status.restarts == 3
    assert status.state == "open"
    assert "batch 17 of sentinel 'train' is dropped: gates ended 3 times with it" in caplog.text


class Fails(SGD):
    """Raises at each step, or from the version on that a scheduler has reached."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        if self.param_groups[0]["lr"] < 0.05:
            raise FloatingPointError("too low a rate")
        super().step()


@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("updates", [0, 1, 30])
def test_an_update_that_fails_again_with_the_same_error_ends_the_network_at_once(
    engine: Engine, in_flight: int, updates: int
) -> None:
    chain = gates()
    rate = partial(LambdaLR, lr_lambda=lambda count: 1.0 if count < updates else 0.1)
    chain[1] = ak.Gate("body", nn.Linear(8, 8), partial(Fails, lr=0.1), scheduler=rate)
    with ak.launch(chain, engine=engine) as network:
        network.attach(training(epochs=4, in_flight=in_flight))
        start = engine.now()
        with pytest.raises(ak.ActorFailed, match=r"gate body has failed, .*: FloatingPointError: too low a rate\. It"):
            list(network.watch())
        assert engine.now() - start < limit(1.0 + updates / 20)  # with what it trains again
        assert network.status().restarts <= 3


def test_beyond_the_limit_the_network_fails_with_the_first_cause() -> None:
    with ak.launch(gates(), engine=Stepped(3), supervision=ak.Supervision(restarts=2)) as network:
        network.attach(training(epochs=None, time_limit=1000.0))
        network.attach(ak.ValidationSentinel("validation", batches, cross_entropy, every=0.2))
        for _ in range(3):
            wait_until(network, lambda: is_whole(network), what="the gate")
            crash(network, "body")
        with pytest.raises(ak.ActorFailed, match=r"gate body has failed.*It ended 3 times within 60 s"):
            list(network.watch())
        assert network.status().state == "failed"
        assert network.status().restarts == 2
        wait_until(network, lambda: network.status().sentinels == (), what="sentinels to leave")


def test_restarts_wait_longer_each_time() -> None:
    engine = Stepped(3)
    with ak.launch(gates(), engine=engine) as network:
        waits = []
        for _ in range(4):
            wait_until(network, lambda: is_whole(network), what="the gate")
            before = engine.time
            crash(network, "body")
            wait_until(network, lambda: is_whole(network), what="the gate")
            waits.append(engine.time - before)
        assert waits == pytest.approx([0.0, 1.0, 2.0, 4.0], abs=0.1)


class WithExtraState(nn.Linear):
    def get_extra_state(self) -> object:
        return "more than tensors"

    def set_extra_state(self, state: object) -> None: ...


def test_a_gate_that_cannot_be_copied_is_not_restarted_and_the_reason_is_told(engine: Engine) -> None:
    chain = gates()
    chain[1] = ak.Gate("body", WithExtraState(8, 8), partial(SGD, lr=0.1))
    with ak.launch(chain, engine=engine, supervision=AT_ONCE) as network:
        network.attach(training(epochs=None))
        wait_until(network, lambda: version(network, "body") >= 5, what="updates")
        crash(network, "body")
        with pytest.raises(ak.ActorFailed, match=r"It cannot be restarted because it cannot be copied: .*extra_state"):
            list(network.watch())


def test_a_model_can_be_taken_while_a_gate_is_being_restarted() -> None:
    with ak.launch(gates(), engine=Stepped(2)) as network:
        crash(network, "body")
        wait_until(network, lambda: is_whole(network), what="the gate")
        crash(network, "body")  # the second restart waits a second
        assert not is_whole(network)
        assert set(dict(network.model().named_children())) == {"stem", "body", "head"}


def test_validations_go_through_restarts_too(engine: Engine) -> None:
    with ak.launch(gates(), engine=engine, supervision=AT_ONCE) as network:
        network.attach(ak.ValidationSentinel("validation", partial(batches, 300), cross_entropy, in_flight=4))
        wait_until(network, lambda: any(each.done > 20 for each in network.status().sentinels), what="batches")
        crash(network, "head")
        (report,) = network.watch()
        assert report.samples == 1200


def test_a_restarted_gate_of_a_resumed_network_goes_on_from_what_was_saved(tmp_path: Any, engine: Engine) -> None:
    with ak.launch(gates(), engine=Threads(1)) as network:
        network.attach(training())
        list(network.watch())
        network.save(tmp_path)
    with ak.launch(gates(), engine=engine, resume=tmp_path, supervision=AT_ONCE) as network:
        before = network.state_dict()
        crash(network, "stem")
        wait_until(network, lambda: is_whole(network), what="the gate")
        after = network.state_dict()
        assert version(network, "stem") == 40
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_an_unknown_gate_cannot_be_crashed() -> None:
    with (
        ak.launch(gates(), engine=Stepped()) as network,
        pytest.raises(ak.ActorNotFound, match=r"no gate 'tail' lives now; there are: gate stem, gate body"),
    ):
        crash(network, "tail")
