"""Weights as immutable versions: what a batch was forwarded with stays as it was."""

from collections.abc import Mapping
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from akkordeon.gate.updates import Norms, Steps, Update
from akkordeon.gate.versions import Weights


class Counter(nn.Module):
    """Buffers of every kind that must be told apart when two computations have changed them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("warm", torch.tensor(False))
        self.register_buffer("history", torch.zeros(0), persistent=False)


def ones(weights: Weights) -> list[Tensor | None]:
    return [torch.ones_like(parameter) for parameter in weights.trainable]


def step(
    weights: Weights,
    gradients: list[Tensor | None],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> None:
    Steps(weights, optimizer, scheduler, [], None, Norms()).take(Update(gradients, 0, 1.0))


def updated(weights: Weights, lr: float = 0.5) -> None:
    step(weights, ones(weights), SGD(weights.live, lr=lr))


def test_a_snapshot_stays_as_it_was_when_the_optimizer_steps() -> None:
    weights = Weights(nn.Linear(3, 2))
    snapshot = weights.snapshot()
    before = [tensor.detach().clone() for tensor in snapshot.tensors]
    updated(weights)
    assert all(map(torch.equal, snapshot.tensors, before))
    assert not torch.equal(weights.live[0], before[0])


def test_a_version_is_cloned_once() -> None:
    weights = Weights(nn.Linear(3, 2))
    first = weights.snapshot()
    assert weights.snapshot() is first
    updated(weights)
    second = weights.snapshot()
    assert second is not first
    assert weights.snapshot() is second
    assert (first.version, second.version, weights.version) == (0, 1, 1)
    assert not {t.data_ptr() for t in first.tensors} & {t.data_ptr() for t in (*second.tensors, *weights.live)}


def test_a_snapshot_holds_the_live_weights_by_value() -> None:
    weights = Weights(nn.Linear(3, 2))
    updated(weights)
    assert all(map(torch.equal, weights.snapshot().tensors, weights.live))


def test_the_tensors_of_a_snapshot_are_leaves_that_require_a_gradient_as_their_parameters_do() -> None:
    module = nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    snapshot = Weights(module).snapshot()
    weight, bias = snapshot.tensors
    assert weight.is_leaf
    assert weight.requires_grad
    assert not bias.requires_grad
    assert len(snapshot.trainable) == 1
    assert snapshot.trainable[0] is weight


def test_frozen_weights_are_not_cloned() -> None:
    module = nn.Linear(3, 2)
    module.weight.requires_grad_(False)
    snapshot = Weights(module).snapshot()
    assert snapshot.tensors[0].data_ptr() == module.weight.data_ptr()
    assert snapshot.tensors[1].data_ptr() != module.bias.data_ptr()


def test_frozen_weights_survive_an_optimizer_with_weight_decay() -> None:
    module = nn.Linear(3, 2)
    module.weight.requires_grad_(False)
    before = module.weight.clone()
    weights = Weights(module)
    step(weights, ones(weights), SGD(weights.live, lr=0.5, weight_decay=0.1))
    assert torch.equal(module.weight, before)


def test_an_update_is_one_step_of_the_optimizer_and_of_the_scheduler() -> None:
    weights = Weights(nn.Linear(3, 2))
    optimizer = SGD(weights.live, lr=0.5)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.1)
    before = weights.live[0].detach().clone()
    step(weights, ones(weights), optimizer, scheduler)
    assert torch.equal(weights.live[0], before - 0.5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_a_weight_without_a_gradient_is_left_alone() -> None:
    weights = Weights(nn.Linear(3, 2))
    before = [parameter.detach().clone() for parameter in weights.live]
    step(weights, [None, torch.ones(2)], SGD(weights.live, lr=0.5))
    assert torch.equal(weights.live[0], before[0])
    assert torch.equal(weights.live[1], before[1] - 0.5)


def test_an_update_leaves_no_gradient_behind() -> None:
    weights = Weights(nn.Linear(3, 2))
    updated(weights)
    assert all(parameter.grad is None for parameter in weights.live)


def test_a_parameter_held_in_two_places_counts_once() -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    weights = Weights(tied)
    assert weights.names == ("0.weight", "0.bias", "1.bias")
    assert len(weights.snapshot().tensors) == 3


def test_buffers_are_taken_over_from_who_was_given_the_current_ones() -> None:
    weights = Weights(nn.BatchNorm1d(2))
    before = weights.buffers
    after = {name: buffer + 1 for name, buffer in before.items()}
    weights.publish(before, after)
    assert weights.buffers is after


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("uses", [1, 2])
def test_means_of_two_computations_are_those_of_one_after_the_other(momentum: float | None, uses: int) -> None:
    norm = nn.BatchNorm1d(2, momentum=momentum)
    weights = Weights(norm)

    def after(buffers: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        norm.load_state_dict(dict(buffers), strict=False)
        for _ in range(uses):
            norm(x)
        return {name: buffer.clone() for name, buffer in norm.named_buffers()}

    first, second = torch.randn(8, 2) * 3 + 1, torch.randn(8, 2)
    weights.publish(weights.buffers, after(weights.buffers, torch.randn(8, 2)))
    given = weights.buffers
    in_order = after(after(given, first), second)
    assert weights.publish(given, after(given, first))
    assert weights.publish(given, after(given, second))
    for name, buffer in in_order.items():
        assert torch.allclose(weights.buffers[name], buffer)
        assert weights.buffers[name].dtype == buffer.dtype


def test_a_variance_never_falls_below_zero() -> None:
    weights = Weights(nn.BatchNorm1d(1, momentum=0.9))
    before = weights.buffers
    assert weights.publish(before, {**before, "running_var": torch.tensor([0.1])})
    assert weights.publish(before, {**before, "running_var": torch.tensor([0.1 - 1e-9])})
    assert weights.buffers["running_var"].item() >= 0


@pytest.mark.parametrize("mine", [{"history": torch.ones(2)}, {"seen": torch.tensor(4)}, {"new": torch.ones(1)}])
def test_buffers_that_are_no_means_are_not_merged(mine: dict[str, Tensor]) -> None:
    weights = Weights(Counter())
    given = weights.buffers
    assert weights.publish(given, {**given, "mean": torch.tensor([1.0, 0.0])})
    assert not weights.publish(given, {**given, **mine})
    assert torch.equal(weights.buffers["mean"], torch.tensor([1.0, 0.0]))


def test_a_constant_with_infinities_stays_as_it_is() -> None:
    module = Counter()
    module.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))
    weights = Weights(module)
    given = weights.buffers
    copies = [{name: buffer.clone() for name, buffer in given.items()} for _ in range(2)]
    assert all(weights.publish(given, each) for each in copies)
    assert torch.equal(weights.buffers["mask"], given["mask"])


def test_a_buffer_that_is_no_longer_finite_is_not_taken_over() -> None:
    weights = Weights(nn.BatchNorm1d(2))
    given = weights.buffers
    assert weights.publish(given, {**given, "running_mean": torch.tensor([torch.nan, 0.0])})
    assert weights.buffers is given


def test_publishing_never_writes_into_buffers_that_others_hold() -> None:
    weights = Weights(nn.BatchNorm1d(2))
    given = weights.buffers
    copies = {name: buffer.clone() for name, buffer in given.items()}
    for _ in range(2):
        weights.publish(given, {name: buffer + 1 for name, buffer in given.items()})
    assert all(torch.equal(given[name], copies[name]) for name in copies)


def test_the_buffers_are_the_weights_own() -> None:
    module = nn.BatchNorm1d(2)
    weights = Weights(module)
    assert module.running_mean is not None
    module.running_mean.fill_(9.0)
    assert torch.equal(weights.buffers["running_mean"], torch.zeros(2))


def test_the_state_is_named_as_the_modules_and_made_of_copies() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    weights = Weights(module)
    state = weights.state()
    assert set(state) == set(module.state_dict())
    for tensor in state.values():
        tensor.fill_(7)
    assert not any((parameter == 7).any() for parameter in weights.live)
    assert weights.buffers["1.num_batches_tracked"].item() == 0
    assert not any(tensor.requires_grad for tensor in state.values())


@pytest.mark.parametrize("make", [nn.ReLU, nn.Flatten, partial(nn.Dropout, 0.5)])
def test_a_module_without_weights_has_versions_of_nothing(make: type[nn.Module]) -> None:
    weights = Weights(make())
    assert weights.snapshot().tensors == weights.snapshot().trainable == ()
    assert weights.state() == {}


def test_hooks_of_an_optimizer_are_called_and_a_step_without_any_is_the_same() -> None:
    weights = [Weights(nn.Linear(2, 2, bias=False)) for _ in range(2)]
    with torch.no_grad():
        weights[1].live[0].copy_(weights[0].live[0])
    calls: list[str] = []
    optimizers = [SGD(list(each.live), lr=0.5, momentum=0.9) for each in weights]
    optimizers[0].register_step_post_hook(lambda *_: calls.append("after"))
    optimizers[0].register_step_pre_hook(lambda *_: calls.append("before"))
    for _ in range(3):
        for each, optimizer in zip(weights, optimizers, strict=True):
            step(each, [torch.ones(2, 2)], optimizer)
    assert calls == ["before", "after"] * 3
    assert torch.equal(weights[0].live[0], weights[1].live[0])
    with torch.autograd.profiler.profile() as profile:
        step(weights[1], [torch.ones(2, 2)], optimizers[1])
    assert any("Optimizer.step#SGD.step" in event.name for event in profile.function_events)
