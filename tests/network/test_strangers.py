"""Losses, targets, loaders and inputs as strangers have them are trained as in their loop, or refused by name."""

import copy
import gc
import logging
import weakref
from collections import UserDict, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.utils.rnn import pack_padded_sequence
from torch.optim import SGD
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.conductor.event_log import EVENTS_KEPT
from akkordeon.engines import Stepped, Threads
from tests.network.patience import wait_until

sgd = partial(SGD, lr=0.1)

Batches = list[tuple[Any, Any]]


def numbers(amount: int = 6, size: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(size, 8, generator=generator) for _ in range(amount)]
    return [(x, x[:, :3].argmax(dim=1)) for x in inputs]


def whole() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))


def plainly(batches: Batches, loss: Any) -> tuple[nn.Module, float]:
    """The model and the mean loss of a plain loop."""
    model = whole()
    optimizer, losses = sgd(model.parameters()), []
    for x, target in batches:
        optimizer.zero_grad()
        value = loss(model(x), target)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return model, sum(losses) / len(losses)


def network_of(engine: Engine, module: nn.Module | None = None) -> ak.Network:
    """Two gates, or one."""
    gates = ak.split(whole(), at=["2"], optimizer=sgd) if module is None else [ak.Gate("all", module, sgd)]
    return ak.launch(gates, engine=engine)


def as_plain(engine: Engine, batches: Batches, loss: Any, **settings: Any) -> ak.Report:
    """Train as a network, and compare with the plain loop; return the report."""
    plain, mean = plainly(copy.deepcopy(batches), loss)
    with network_of(engine) as network:
        network.attach(ak.TrainingSentinel("train", lambda: batches, loss, epochs=1, **settings))
        (report,) = network.watch()
        state = network.state_dict()
    assert all(torch.equal(state[name], expected) for name, expected in plain.state_dict().items())
    assert report.loss == pytest.approx(mean, abs=1e-6)
    return report


def refusal(network: ak.Network, batches: Batches, loss: Any = cross_entropy, kind: Any = ak.TrainingSentinel) -> str:
    settings = {"epochs": 1} if kind is ak.TrainingSentinel else {}
    network.attach(kind("one", lambda: batches, loss, **settings))
    with pytest.raises(ak.SentinelFailed) as caught:
        list(network.watch())
    return str(caught.value)


# Losses


def test_a_loss_and_a_metric_that_write_into_the_output_work_as_in_a_plain_loop(engine: Engine) -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        output[:, 1:] = output[:, 1:].sigmoid()
        return mse_loss(output, target)

    def metric(output: Tensor, target: Tensor) -> Tensor:
        return output.zero_().mean()

    report = as_plain(engine, [(x, x[:, :3]) for x, _ in numbers()], loss, metrics={"zero": metric})
    assert report.metrics == {"zero": 0.0}


def test_outputs_of_a_test_are_what_the_network_yields_though_the_loss_writes_into_them(engine: Engine) -> None:
    with network_of(engine) as network:
        network.attach(ak.TestSentinel("test", numbers, lambda output, target: output.zero_().sum()))
        (report,) = network.watch()
        model = network.model().eval()
        with torch.no_grad():
            assert all(torch.equal(y, model(x)) for y, (x, _) in zip(report.outputs, numbers(), strict=True))


def test_a_loss_that_reaches_features_of_a_gate_is_refused_by_name(engine: Engine) -> None:
    seen: dict[str, Tensor] = {}
    model = whole()
    model[0].register_forward_hook(lambda module, given, output: seen.__setitem__("features", output))
    with network_of(engine, model) as network:
        text = refusal(network, numbers(), lambda y, t: cross_entropy(y, t) + seen["features"].pow(2).mean())
    assert "sentinel 'one': no loss for batch 0: TypeError: the loss depends on more than the network's output" in text
    assert "Return features that the loss needs from the last gate" in text


def test_a_loss_with_a_learned_weight_is_refused_by_name(engine: Engine) -> None:
    weight = nn.Parameter(torch.zeros(()))
    with network_of(engine) as network:
        text = refusal(network, numbers(), lambda y, t: cross_entropy(y, t) * torch.exp(-weight) + weight)
    assert "sentinel 'one'" in text
    assert "put weights that learn from it into a gate, and freeze others with requires_grad_(False)" in text


def test_a_loss_that_compares_with_a_frozen_model_works(engine: Engine) -> None:
    teacher = whole().requires_grad_(False)
    as_plain(
        engine,
        [(x, x) for x, _ in numbers()],
        lambda y, x: mse_loss(y, teacher(x)) + mse_loss(teacher[2](y.T @ x), x[:3, :3]),
    )


# Targets

Pair = namedtuple("Pair", "label weight")


@dataclass
class Held:
    label: Tensor


class Own:
    def __init__(self, label: Tensor) -> None:
        self.label = label


def label_of(target: Any) -> Tensor:
    return torch.as_tensor(target) if isinstance(target, np.ndarray) else target.label


@pytest.mark.parametrize(
    "wrap", [lambda t: t.numpy(), lambda t: Pair(t, 1.0), Held, Own, lambda t: Pair(t, {"a": Own(t)})]
)
def test_a_target_may_be_anything(wrap: Callable[[Tensor], Any], engine: Engine) -> None:
    given = []

    def loss(output: Tensor, target: Any) -> Tensor:
        given.append(type(target))
        return cross_entropy(output, label_of(target))

    batches: Batches = [(x, wrap(t)) for x, t in numbers()]
    as_plain(engine, batches, loss, metrics={"largest": lambda output, target: label_of(target).max()})
    assert set(given) == {type(wrap(torch.tensor([1])))}


def test_targets_of_any_kind_come_through_a_validation_a_test_and_a_save(engine: Engine, tmp_path: Any) -> None:
    batches = [(x, Held(t)) for x, t in numbers()]
    loss = lambda output, target: cross_entropy(output, target.label)  # noqa: E731
    with network_of(engine) as network:
        network.attach(ak.TrainingSentinel("train", lambda: batches, loss, in_flight=2))
        wait_until(network, lambda: network.status().sentinels[0].done > 2, what="batches")
        network.save(tmp_path)
        network.detach("train")
        network.attach(ak.ValidationSentinel("validation", lambda: batches, loss))
        network.attach(ak.TestSentinel("test", lambda: batches, loss))
        assert {report.sentinel: report.samples for report in network.watch() if report.kind != "train"} == {
            "validation": 24,
            "test": 24,
        }


# How many samples a batch has


def boxes(size: int) -> list[dict[str, Tensor]]:
    return [{"boxes": torch.zeros(k, 4), "label": torch.tensor(k % 3)} for k in range(size)]


def detection(output: Tensor, target: list[dict[str, Tensor]]) -> Tensor:
    return cross_entropy(output, torch.stack([each["label"] for each in target]))


def test_a_batch_counts_by_its_input_however_its_target_looks(engine: Engine) -> None:
    report = as_plain(engine, [(x, boxes(4)) for x, _ in numbers()], detection)
    assert report.samples == 24


def test_figures_are_weighted_by_the_size_that_a_sentinel_says(engine: Engine) -> None:
    batches = [(x, torch.full((4,), fill)) for fill, (x, _) in enumerate(numbers(3))]
    settings: Any = {"size": lambda x, target: int(target.sum()), "metrics": {"fill": lambda y, t: t.float().mean()}}
    report = as_plain(engine, batches[1:2], cross_entropy, **settings)
    assert report.samples == 4
    with network_of(engine.__class__()) as network:
        network.attach(ak.ValidationSentinel("validation", lambda: batches, cross_entropy, **settings))
        (report,) = network.watch()
    assert report.samples == 12
    assert report.metrics["fill"] == pytest.approx((0 * 0 + 4 * 1 + 8 * 2) / 12)


def test_batches_that_count_for_nothing_are_trained_and_are_no_failure(engine: Engine) -> None:
    with network_of(engine) as network:
        network.attach(ak.TrainingSentinel("train", numbers, cross_entropy, epochs=1, size=lambda x, target: 0))
        (report,) = network.watch()
        assert report.samples == 0
        assert {gate.version for gate in network.status().gates} == {6}


def test_a_size_that_raises_is_named_with_its_batch(engine: Engine) -> None:
    with network_of(engine) as network:
        network.attach(ak.TrainingSentinel("train", numbers, cross_entropy, epochs=1, size=lambda x, target: len(3)))  # type: ignore[arg-type]
        with pytest.raises(
            ak.SentinelFailed, match=r"sentinel 'train': batch 0 cannot be used: TypeError: .* has no len"
        ):
            list(network.watch())


# Inputs


class Reads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        assert type(x) is dict
        return self.inner(x["features"])


@pytest.mark.parametrize("kind", [ak.TrainingSentinel, ak.ValidationSentinel, ak.TestSentinel])
def test_a_mapping_as_x_is_taken_as_a_dictionary(kind: Any, engine: Engine) -> None:
    batches = [(UserDict(features=x), t) for x, t in numbers()]
    settings = {"epochs": 1} if kind is ak.TrainingSentinel else {}
    with network_of(engine, Reads()) as network:
        network.attach(kind("one", lambda: batches, cross_entropy, **settings))
        (report,) = network.watch()
    assert report.samples == 24


@pytest.mark.parametrize("kind", [ak.TrainingSentinel, ak.ValidationSentinel, ak.TestSentinel])
def test_an_x_that_cannot_travel_is_the_loaders_fault_and_named_so(kind: Any, engine: Engine) -> None:
    packed = pack_padded_sequence(torch.randn(2, 4, 8), torch.tensor([2, 2, 1, 1]))
    with network_of(engine) as network:
        text = refusal(network, [*numbers(2), (packed, torch.zeros(4))], kind=kind)
    assert text.startswith(
        "sentinel 'one': batch 2 cannot be used: TypeError: the loader yielded a PackedSequence: yield"
    )
    assert "module" not in text


# Epochs of loaders


class Recorded(Dataset[tuple[Tensor, int]]):
    def __init__(self) -> None:
        self.order: list[int] = []
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.order.append(index)
        return torch.ones(8), 0

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def test_a_sampler_of_processes_shuffles_each_epoch_as_in_a_plain_loop(engine: Engine) -> None:
    def loader(data: Recorded) -> DataLoader[tuple[Tensor, int]]:
        return DataLoader(data, 4, sampler=DistributedSampler(data, num_replicas=1, rank=0, shuffle=True))

    plain, ours = Recorded(), Recorded()
    for epoch, here in enumerate([loader(plain)] * 3):
        here.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        list(here)
    with network_of(engine) as network:
        network.attach(ak.TrainingSentinel("train", lambda: loader(ours), cross_entropy, epochs=3))
        list(network.watch())
    assert ours.order == plain.order
    assert ours.epochs == [0, 1, 2]


# Losses that are not finite


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((torch.ones(4, 8), torch.full((4,), -100)), "all its targets are -100; if it ignores these"),
        ((torch.ones(0, 8), torch.zeros(0).long()), "the batch is empty: let the loader leave it out"),
        ((torch.full((4, 8), torch.nan), torch.zeros(4).long()), "its input holds NaN or infinity"),
    ],
)
def test_a_loss_that_is_not_finite_says_what_is_to_blame(
    batch: tuple[Tensor, Tensor], message: str, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with network_of(engine) as network, caplog.at_level(logging.WARNING):
        text = refusal(network, [batch] * 12)
    assert "10 batches in a row could not be learned from; the last one: its loss is not finite; " in text
    assert message in text
    assert (
        f"batch 0 of sentinel 'one' has a loss of nan; {text.split('finite; ')[1]}; the batch is skipped" in caplog.text
    )


def test_a_target_that_is_not_finite_is_to_blame(engine: Engine) -> None:
    with network_of(engine) as network:
        text = refusal(network, [(torch.ones(4, 8), torch.full((4, 3), torch.inf))], mse_loss)
    assert "no batch of epoch 1 had a finite loss; its input is finite, and its target holds NaN or infinity" in text


# What the network keeps


@pytest.fixture(params=[partial(Threads, 2), partial(Stepped, seed=1)], ids=["threads", "stepped"])
def forgetful(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine without debug mode, which keeps messages in order to compare them later."""
    engine: Engine = request.param()
    yield engine
    engine.close()


def alive(things: list[Any]) -> int:
    gc.collect()
    return sum(each() is not None for each in things)


def test_outputs_of_a_test_are_kept_until_a_watcher_has_them_and_no_longer(forgetful: Engine) -> None:
    with network_of(forgetful) as network:
        network.attach(ak.TestSentinel("test", numbers))
        wait_until(network, lambda: not network.attached(), what="the test to end")
        (report,) = network.watch()
        outputs = [weakref.ref(output) for output in report.outputs]
        assert len(outputs) == 6
        del report
        wait_until(network, lambda: not alive(outputs), what="the network to let go")


def test_outputs_are_let_go_while_the_same_watcher_goes_on(forgetful: Engine) -> None:
    outputs: list[Any] = []
    with network_of(forgetful) as network:
        network.attach(ak.TrainingSentinel("train", numbers, cross_entropy))
        reports = network.watch()
        next(reports)
        network.attach(ak.TestSentinel("test", numbers))
        for report in reports:
            outputs += [weakref.ref(output) for output in report.outputs]
            del report
            if outputs and not alive(outputs):
                break
        assert len(outputs) == 6


def test_a_second_watcher_gets_the_figures_that_a_first_one_got_without_outputs(engine: Engine) -> None:
    with network_of(engine) as network:
        network.attach(ak.TestSentinel("test", numbers, cross_entropy))
        (first,) = network.watch()
        network.attach(ak.TestSentinel("test", numbers, cross_entropy))
        (second,) = network.watch()
    assert (first.loss, len(first.outputs)) == (second.loss, len(second.outputs))


def test_a_failure_keeps_no_tensors_alive(forgetful: Engine) -> None:
    held: list[Any] = []

    def data() -> Iterator[Any]:
        for x, target in numbers():
            fresh = x.clone()
            held.append(weakref.ref(fresh))
            yield fresh, target
            del fresh

    def loss(output: Tensor, target: Tensor) -> Tensor:
        held.append(weakref.ref(output))
        return cross_entropy(output[:, :1], target)

    with network_of(forgetful) as network:
        network.attach(ak.TrainingSentinel("train", data, loss))
        with pytest.raises(ak.SentinelFailed, match="no loss for batch 0"):
            list(network.watch())
        wait_until(network, lambda: not alive(held), what="the network to let go")
        assert len(held) >= 2


def test_who_fell_behind_is_told_how_many_events_were_missed(caplog: pytest.LogCaptureFixture) -> None:
    epochs = EVENTS_KEPT + 50
    batch = numbers(1)
    with network_of(Threads(1), nn.Linear(8, 3)) as network:
        network.attach(ak.TrainingSentinel("train", lambda: batch, cross_entropy, epochs=epochs))
        wait_until(network, lambda: not network.attached(), seconds=60.0, what="the end of training")
        with caplog.at_level(logging.WARNING):
            reports = list(network.watch())
    missed = epochs - len(reports)
    assert [report.epoch for report in reports] == list(range(missed + 1, epochs + 1))
    assert missed > 0
    missed += 1  # that the sentinel was attached
    assert f"{missed} events were missed: only the latest 10000 are kept" in caplog.text


# Autocast


def test_autocast_around_a_network_is_refused_with_the_remedy(engine: Engine) -> None:
    gates = [ak.Gate("all", whole(), sgd)]
    remedy = "would reach neither gates nor the loss: leave it, and give each gate autocast=torch.bfloat16"
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ak.WiringError, match=f"around launch, and {remedy}"):
        ak.launch(gates)
    with ak.launch(gates, engine=engine) as network:
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(ak.WiringError, match=f"around attach, and {remedy}"):
            network.attach(ak.TrainingSentinel("train", numbers, cross_entropy, epochs=1))
        with torch.autocast("cpu", enabled=False):
            network.attach(ak.TrainingSentinel("train", numbers, cross_entropy, epochs=1))
        assert len(list(network.watch())) == 1
