"""Late gradients are exact gradients of known weights: what a batch met, and when, is reproduced independently.

With one sentinel everything is in order, so the n-th update of each gate belongs to the n-th batch.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Stepped
from tests.properties.numerics.loops import (
    SEED,
    Batches,
    Recorded,
    Recorder,
    assert_same,
    assert_same_tensors,
    cross_entropy,
    one_thread,
    train_as_network,
)

LR = 0.05
IN_FLIGHT = 4
NUM_BATCHES = 40

Weights = list[Tensor]


def chain() -> list[nn.Module]:
    torch.manual_seed(SEED)
    return [
        nn.Sequential(nn.Linear(6, 8), nn.Tanh()),
        nn.Sequential(nn.Linear(8, 8), nn.Tanh()),
        nn.Linear(8, 3),
    ]


def make_batches() -> Batches:
    torch.manual_seed(SEED)
    return [(torch.randn(5, 6), torch.randint(3, (5,))) for _ in range(NUM_BATCHES)]


def record(
    activations: Literal["stashed", "recomputed"] = "stashed",
    *,
    modules: Callable[[], Sequence[nn.Module]] = chain,
    seed: int = 1,
    in_flight: int = IN_FLIGHT,
    computations: int = 1,
) -> tuple[list[list[Recorded]], nn.Sequential]:
    """Train on the stepped engine; return what arrived at each gate, and the model."""
    recorders = [Recorder() for _ in modules()]
    gates = [
        ak.Gate(
            f"gate {n}",
            module,
            partial(SGD, lr=LR),
            recorder,
            activations=activations,
            computations=computations,
        )
        for n, (module, recorder) in enumerate(zip(modules(), recorders, strict=True))
    ]
    ours = train_as_network(gates, Stepped(seed, debug=True), make_batches(), in_flight=in_flight)
    assert all(len(recorder.seen) == NUM_BATCHES for recorder in recorders)
    return [recorder.seen for recorder in recorders], ours.model


def largest_staleness(arrivals: Sequence[Recorded]) -> int:
    return max(each.arrival.staleness for each in arrivals)


def put(module: nn.Module, weights: Weights) -> Weights:
    """Make these the weights of a module; return the leaves to differentiate by."""
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), weights, strict=True):
            parameter.copy_(value)
    return list(module.parameters())


@pytest.mark.parametrize("computations", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_a_stashed_gradient_is_that_of_mixed_old_versions(seed: int, computations: int) -> None:
    arrivals, model = record(seed=seed, computations=computations)
    modules = chain()
    history = [[[p.detach().clone() for p in module.parameters()]] for module in modules]
    assert largest_staleness(arrivals[0]) > 0

    with one_thread():
        for batch, (x, target) in enumerate(make_batches()):
            weights: Weights = []
            output = x
            for versions, arrived, module in zip(history, arrivals, modules, strict=True):
                weights += put(module, versions[arrived[batch].arrival.version_forward])
                output = module(output)
            gradients = iter(torch.autograd.grad(cross_entropy(output, target), weights))
            for versions, arrived in zip(history, arrivals, strict=True):
                live = versions[-1]
                expected = [next(gradients) for _ in live]
                assert_same_tensors(arrived[batch].gradients, expected)
                assert_same_tensors(arrived[batch].now, live)
                versions.append([w.sub(g, alpha=LR) for w, g in zip(live, expected, strict=True)])
    assert_same_tensors(list(model.parameters()), [w for versions in history for w in versions[-1]])


@pytest.mark.parametrize("seed", range(3))
def test_a_recomputed_gradient_is_that_at_the_live_weights(seed: int) -> None:
    arrivals, model = record("recomputed", seed=seed)
    modules = chain()
    history = [[[p.detach().clone() for p in module.parameters()]] for module in modules]
    assert largest_staleness(arrivals[0]) > 0

    with one_thread():
        for batch, (x, target) in enumerate(make_batches()):
            inputs = [x]
            for versions, arrived, module in zip(history, arrivals, modules, strict=True):
                put(module, versions[arrived[batch].arrival.version_forward])
                inputs.append(module(inputs[-1]).detach())
            output = inputs.pop().requires_grad_()
            (gradient,) = torch.autograd.grad(cross_entropy(output, target), output)
            for versions, arrived, module, given in list(zip(history, arrivals, modules, inputs, strict=True))[::-1]:
                live = put(module, versions[-1])
                leaf = given.clone().requires_grad_()
                gradient, *expected = torch.autograd.grad(module(leaf), [leaf, *live], gradient)
                assert_same_tensors(arrived[batch].gradients, expected)
                versions.append([w.sub(g, alpha=LR) for w, g in zip(versions[-1], expected, strict=True)])
    assert_same_tensors(list(model.parameters()), [w for versions in history for w in versions[-1]])


def test_a_gradient_of_one_gate_is_that_at_the_weights_handed_to_the_compensation() -> None:
    def whole() -> list[nn.Module]:
        return [nn.Sequential(*chain())]

    (arrivals,), _ = record(modules=whole, in_flight=6)
    (model,) = whole()
    assert largest_staleness(arrivals) > 1
    for (x, target), arrived in zip(make_batches(), arrivals, strict=True):
        with one_thread():
            weights = put(model, arrived.then)
            expected = torch.autograd.grad(cross_entropy(model(x), target), weights)
        assert_same_tensors(arrived.gradients, list(expected))


@pytest.mark.parametrize("seed", range(3))
def test_staleness_is_the_number_of_updates_since_the_forward(seed: int) -> None:
    arrivals, _ = record(seed=seed, in_flight=5, computations=2)
    for arrived in arrivals:
        for number, each in enumerate(arrived):
            assert each.arrival.version_now == number
            assert each.arrival.staleness == each.arrival.version_now - each.arrival.version_forward
            assert each.arrival.sentinel == "train"
            assert each.arrival.batch_size == 5


@pytest.mark.parametrize("computations", [1, 2])
@pytest.mark.parametrize("in_flight", [1, 2, 5])
def test_staleness_is_less_than_the_batches_in_flight(in_flight: int, computations: int) -> None:
    arrivals, _ = record(seed=in_flight, in_flight=in_flight, computations=computations)
    assert all(largest_staleness(arrived) <= in_flight - 1 for arrived in arrivals)


@pytest.mark.parametrize("seed", range(3))
def test_the_batches_at_a_gate_at_the_forward_are_the_staleness_to_come(seed: int) -> None:
    arrivals, _ = record(seed=seed)
    for arrived in arrivals:
        assert [each.arrival.in_flight for each in arrived] == [each.arrival.staleness for each in arrived]


@pytest.mark.parametrize("computations", [1, 2])
def test_the_weights_of_a_forward_are_never_written(computations: int) -> None:
    arrivals, _ = record(in_flight=6, computations=computations)
    for arrived in arrivals:
        for each in arrived:
            assert_same_tensors(each.then, each.then_copy)


def test_batches_forwarded_at_one_version_share_its_weights() -> None:
    arrivals, _ = record(in_flight=6)
    addresses: dict[int, set[int]] = defaultdict(set)
    for each in arrivals[0]:
        addresses[each.arrival.version_forward].add(each.then[0].data_ptr())
    assert len(addresses) < NUM_BATCHES
    assert all(len(of_version) == 1 for of_version in addresses.values())


def test_recomputing_gates_have_no_weights_of_the_forward_to_hand_out() -> None:
    arrivals, _ = record("recomputed")
    assert all(each.then == [] for arrived in arrivals for each in arrived)


def test_the_staleness_reported_is_that_of_all_updates() -> None:
    recorder = Recorder()
    gate = ak.Gate("whole", nn.Sequential(*chain()), partial(SGD, lr=LR), recorder)
    ours = train_as_network([gate], Stepped(3, debug=True), make_batches(), in_flight=5)
    staleness = [each.arrival.staleness for each in recorder.seen]
    assert ours.gates[0].staleness.counts == Counter(staleness)
    assert ours.gates[0].staleness.max == max(staleness) > 0
    assert ours.gates[0].staleness.mean == pytest.approx(sum(staleness) / len(staleness))
    assert ours.reports[0].staleness == {"whole": ours.gates[0].staleness}


# Buffers


class Sum(nn.Module):
    """Adds up all that it sees in training."""

    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(6, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.total += x.long().sum(0)
        return x


@pytest.mark.parametrize("activations", ["stashed", "recomputed"])
def test_buffers_hold_what_every_batch_contributed_once(
    engine: Engine, activations: Literal["stashed", "recomputed"]
) -> None:
    batches = [(torch.randint(-9, 9, (5, 6)).float(), torch.randint(3, (5,))) for _ in range(60)]
    module = nn.Sequential(Sum(), nn.BatchNorm1d(6), nn.Linear(6, 3))
    gates = [
        ak.Gate("stem", module, partial(SGD, lr=LR), computations=2, activations=activations),
        ak.Gate("head", nn.Linear(3, 3), partial(SGD, lr=LR)),
    ]
    ours = train_as_network(gates, engine, batches, in_flight=4)
    total, mean, _, num_batches = ours.model[0].buffers()
    assert torch.equal(total, torch.stack([x.long().sum(0) for x, _ in batches]).sum(0))
    assert num_batches == len(batches)
    assert bool((mean != 0).all())


def test_running_statistics_of_overlapping_batches_are_near_those_in_order(engine: Engine) -> None:
    batches = [(torch.randn(32, 6) * 2 + 3, torch.randint(6, (32,))) for _ in range(80)]
    gates = [
        ak.Gate("norm", nn.BatchNorm1d(6, affine=False), computations=2),
        ak.Gate("head", nn.Linear(6, 6), partial(SGD, lr=LR)),
    ]
    ours = train_as_network(gates, engine, batches, in_flight=4)
    plain = nn.BatchNorm1d(6, affine=False)
    for x, _ in batches:
        plain(x)
    mean, variance, _ = ours.model[0].buffers()
    assert plain.running_mean is not None
    assert plain.running_var is not None
    torch.testing.assert_close(mean, plain.running_mean, atol=0.15, rtol=0.1)
    torch.testing.assert_close(variance, plain.running_var, atol=0.5, rtol=0.2)


# Random numbers


class Masks:
    """Keeps masks by gate and batch; shared by all copies of a module."""

    def __init__(self) -> None:
        self.of_forwards: dict[tuple[int, int], list[Tensor]] = defaultdict(list)

    def keep(self, gate: int, batch: int, mask: Tensor) -> None:
        self.of_forwards[gate, batch].append(mask)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Masks":
        return self


class Noisy(nn.Module):
    """Drops out, and keeps which batch got which mask. In goes a dict of floats and the number of the batch."""

    def __init__(self, number: int, masks: Masks) -> None:
        super().__init__()
        self.number = number
        self.keep = masks.keep
        self.weight = nn.Parameter(torch.ones(64))

    def forward(self, tree: dict[str, Tensor]) -> dict[str, Tensor]:
        x, batch = tree["x"], tree["batch"]
        mask = nn.functional.dropout(torch.ones_like(x), 0.5, self.training)
        if self.training:
            self.keep(self.number, int(batch[0]), mask)
        return {"x": x * mask * self.weight, "batch": batch}


class Floats(nn.Module):
    def forward(self, tree: dict[str, Tensor]) -> Tensor:
        return tree["x"]


def test_a_recomputed_forward_drops_what_the_forward_dropped(make_engine: Callable[[], Engine]) -> None:
    masks, num_batches, num_gates = Masks(), 150, 4
    batches = [
        ({"x": torch.rand(16, 64), "batch": torch.full((16,), n)}, torch.zeros(16, 64)) for n in range(num_batches)
    ]
    gates = [
        *(
            ak.Gate(f"gate {n}", Noisy(n, masks), partial(SGD, lr=0.01), activations="recomputed", computations=2)
            for n in range(num_gates)
        ),
        ak.Gate("floats", Floats()),
    ]
    train_as_network(gates, make_engine(), batches, in_flight=8, loss=nn.functional.mse_loss)
    assert len(masks.of_forwards) == num_batches * num_gates
    for first, second in masks.of_forwards.values():
        assert torch.equal(first, second)
    firsts = [first for first, _ in masks.of_forwards.values()]
    assert not any(torch.equal(one, other) for one, other in pairwise(firsts))


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(64))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def test_a_stashed_gradient_passes_where_its_activation_passed(engine: Engine) -> None:
    outputs: list[Tensor] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if output.requires_grad:  # in training
            outputs.append(output.detach())
        return (output**2).sum() / 2

    recorder = Recorder()
    module = nn.Sequential(Scale(), nn.Dropout(0.5))
    batches = [(torch.rand(1, 64) + 1, torch.zeros(1)) for _ in range(100)]
    gate = ak.Gate("drop", module, partial(SGD, lr=0.0), recorder, computations=2)
    train_as_network([gate], engine, batches, in_flight=6, loss=loss)
    assert len(recorder.seen) == 100
    for arrived, output in zip(recorder.seen, outputs, strict=True):
        (gradient,) = arrived.gradients
        assert gradient is not None
        assert torch.equal(gradient != 0, output[0] != 0)


# Validation beside training


@pytest.mark.parametrize(("activations", "computations"), [("stashed", 1), ("recomputed", 2)])
def test_validation_beside_training_changes_no_bit_of_it(
    engine: Engine, make_engine: Callable[[], Engine], activations: Literal["stashed", "recomputed"], computations: int
) -> None:
    def gates() -> list[ak.Gate]:
        torch.manual_seed(SEED)
        modules = [
            nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3)),
            nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(8, 3)),
        ]
        return [
            ak.Gate(f"gate {n}", module, partial(SGD, lr=LR), computations=computations, activations=activations)
            for n, module in enumerate(modules)
        ]

    batches = make_batches()
    held_out = [(torch.randn(7, 6), torch.randint(3, (7,))) for _ in range(20)]
    beside = [
        ak.ValidationSentinel("once", lambda: held_out, cross_entropy),
        ak.ValidationSentinel("again", lambda: held_out, cross_entropy, every=0.01, in_flight=2),
    ]
    described = gates()
    torch.manual_seed(SEED)
    together = train_as_network(described, engine, batches, epochs=2, beside=beside)
    torch.manual_seed(SEED)
    alone = train_as_network(described, make_engine(), batches, epochs=2)

    passes = {report.sentinel for report in together.others}
    assert passes == {"once", "again"} if isinstance(engine, Stepped) else "once" in passes
    assert all(report.samples == 140 for report in together.others)
    assert [report.loss for report in together.reports] == [report.loss for report in alone.reports]
    assert_same(together.model, alone.model)
