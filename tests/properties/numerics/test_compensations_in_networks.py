"""Compensations on real actors: what each gate is told, and that nothing changes where nothing is late."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_
from torch.optim import SGD, Adam, AdamW

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Stepped
from tests.properties.numerics.loops import (
    SEED,
    Batches,
    Recorder,
    assert_same,
    assert_same_tensors,
    cross_entropy,
    one_thread,
    train_as_network,
)

LR, M = 0.05, 0.9
MOMENTUM = partial(SGD, lr=LR, momentum=M)
ADAMW = partial(AdamW, lr=0.01)


def chain() -> list[nn.Module]:
    torch.manual_seed(SEED)
    return [nn.Sequential(nn.Linear(6, 8), nn.Tanh()), nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 3)]


def make_batches(amount: int = 30) -> Batches:
    torch.manual_seed(SEED)
    return [(torch.randn(5, 6), torch.randint(3, (5,))) for _ in range(amount)]


def gates(optimizer: Any, compensation: Any = (), **settings: Any) -> list[ak.Gate]:
    return [ak.Gate(f"gate {n}", module, optimizer, compensation, **settings) for n, module in enumerate(chain())]


IDENTICAL: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "delay": (ak.DelayCompensation(), MOMENTUM, {}),
    "delay, constant": (ak.DelayCompensation(adaptive=False), MOMENTUM, {}),
    "spike": (ak.SpikeCompensation(), MOMENTUM, {}),
    "spike of Adam": (ak.SpikeCompensation(), partial(Adam, lr=0.01), {}),
    "spike of AdamW": (ak.SpikeCompensation(), ADAMW, {}),
    "linear": (ak.WeightPrediction(), MOMENTUM, {}),
    "linear of AdamW": (ak.WeightPrediction(), ADAMW, {}),
    "decaying": (ak.WeightPrediction("decaying"), MOMENTUM, {}),
    "last step": (ak.WeightPrediction("last step"), ADAMW, {}),
    "linear and spike": ([ak.WeightPrediction(), ak.SpikeCompensation()], MOMENTUM, {}),
    "gap": (ak.GapAware(), MOMENTUM, {}),
    "rate": (ak.StalenessScaledRate(), ADAMW, {}),
    "rescheduling": (ak.RateRescheduling(10), MOMENTUM, {}),
    "limit": (ak.StalenessLimit(1), MOMENTUM, {}),
    "discrepancy": (ak.DiscrepancyCorrection(), MOMENTUM, {"activations": "recomputed"}),
    "all at once": (
        [
            ak.StalenessLimit(3),
            ak.StalenessScaledRate(),
            ak.GapAware(),
            ak.DelayCompensation(),
            ak.WeightPrediction(),
            ak.SpikeCompensation(),
        ],
        MOMENTUM,
        {"max_norm": 1.0, "accumulate": 2},
    ),
}


@pytest.mark.parametrize("name", IDENTICAL)
def test_where_nothing_is_late_nothing_is_changed(engine: Engine, make_engine: Callable[[], Engine], name: str) -> None:
    compensation, optimizer, settings = IDENTICAL[name]
    ours = train_as_network(gates(optimizer, compensation, **settings), engine, make_batches(), epochs=2)
    plain = train_as_network(gates(optimizer, **settings), make_engine(), make_batches(), epochs=2)
    assert_same(ours.model, plain.model)


@pytest.mark.parametrize("computations", [1, 2])
def test_a_batch_goes_forward_at_the_weights_predicted_for_it(computations: int) -> None:
    recorder = Recorder()
    compensations = [ak.WeightPrediction(), recorder]
    whole = ak.Gate("whole", nn.Sequential(*chain()), MOMENTUM, compensations, computations=computations)
    train_as_network([whole], Stepped(2, debug=True), make_batches(), in_flight=5)
    assert max(each.arrival.staleness for each in recorder.seen) > 1
    velocity: list[list[Tensor]] = []
    for number, arrived in enumerate(recorder.seen):
        with one_thread():
            model = nn.Sequential(*chain())
            with torch.no_grad():
                for parameter, value in zip(model.parameters(), arrived.then, strict=True):
                    parameter.copy_(value)
            x, target = make_batches()[number]
            expected = torch.autograd.grad(cross_entropy(model(x), target), list(model.parameters()))
        assert_same_tensors(arrived.gradients, list(expected))
        version, out = arrived.arrival.version_forward, arrived.arrival.in_flight
        assert out == arrived.arrival.staleness
        if version:
            live = recorder.seen[version].now
            for predicted, weight, v in zip(arrived.then, live, velocity[version - 1], strict=True):
                torch.testing.assert_close(predicted, weight - LR * out * v)
        before = velocity[-1] if velocity else [torch.zeros_like(g) for g in expected]
        velocity.append([M * v + g for v, g in zip(before, expected, strict=True)])


def test_a_forward_that_is_run_again_uses_the_estimate_of_its_weights() -> None:
    recorder = Recorder()
    whole = ak.Gate(
        "whole",
        nn.Sequential(*chain()),
        partial(SGD, lr=LR),
        [ak.DiscrepancyCorrection(decay=0.3), recorder],
        activations="recomputed",
    )
    train_as_network([whole], Stepped(2, debug=True), make_batches(), in_flight=4)
    drift = [torch.zeros_like(each) for each in recorder.seen[0].now]
    total = 0
    for number, arrived in enumerate(recorder.seen):
        staleness = arrived.arrival.staleness
        with one_thread():
            model = nn.Sequential(*chain())
            with torch.no_grad():
                for parameter, weight, each in zip(model.parameters(), arrived.now, drift, strict=True):
                    parameter.copy_(weight.sub(each, alpha=staleness) if staleness else weight)
            x, target = make_batches()[number]
            late = recorder.seen[arrived.arrival.version_forward].now  # the loss was taken at these weights
            output = torch.func.functional_call(model, dict(zip(dict(model.named_parameters()), late, strict=True)), x)
            (gradient,) = torch.autograd.grad(cross_entropy(leaf := output.detach().requires_grad_(), target), leaf)
            expected = torch.autograd.grad(model(x), list(model.parameters()), gradient)
        for one, other in zip(arrived.gradients, expected, strict=True):
            torch.testing.assert_close(one, other)
        total += staleness
        gamma = 0.3 ** ((number + 1) / total) if total else 0.0
        drift = [gamma * d - (1 - gamma) * LR * g for d, g in zip(drift, expected, strict=True)]


# The norm of the whole network


def test_gates_clip_by_the_norm_of_the_network_as_far_as_each_knows_it(engine: Engine) -> None:
    batches, max_norm = make_batches(), 0.5
    clipped = gates(partial(SGD, lr=1.0), max_norm=max_norm, norm="network")
    ours = train_as_network(clipped, engine, batches)
    modules = chain()
    known = [0.0] * len(modules)  # squares of norms, of the latest batch
    with one_thread():
        for x, target in batches:
            model = nn.Sequential(*modules)
            torch.autograd.backward(cross_entropy(model(x), target))
            now = [sum(float(p.grad.square().sum()) for p in m.parameters() if p.grad is not None) for m in modules]
            for number, module in enumerate(modules):
                total = torch.tensor(sum(known[:number]) + sum(now[number:])) ** 0.5
                clip_grads_with_norm_(module.parameters(), max_norm, total)
                with torch.no_grad():
                    for parameter in module.parameters():
                        assert parameter.grad is not None
                        parameter.copy_(parameter - parameter.grad)
            model.zero_grad()
            known = now
    for one, other in zip(ours.model.parameters(), nn.Sequential(*modules).parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_one_gate_clips_by_the_norm_of_the_network_as_by_its_own(
    engine: Engine, make_engine: Callable[[], Engine]
) -> None:
    def whole(norm: Any) -> list[ak.Gate]:
        return [ak.Gate("whole", nn.Sequential(*chain()), MOMENTUM, max_norm=0.1, norm=norm)]

    network = train_as_network(whole("network"), engine, make_batches())
    own = train_as_network(whole("gate"), make_engine(), make_batches())
    assert_same(network.model, own.model)


class Root(nn.Module):
    """Its gradient is not finite where all inputs are 0."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        return y.abs().sqrt()


def test_a_gradient_that_is_not_finite_does_not_clip_those_of_other_gates(engine: Engine) -> None:
    data = [(torch.zeros_like(x) if number == 2 else x, target) for number, (x, target) in enumerate(make_batches(4))]
    settings: dict[str, Any] = {"optimizer": MOMENTUM, "max_norm": 0.1, "norm": "network"}
    gates = [ak.Gate("stem", Root(), **settings), ak.Gate("head", nn.Linear(6, 3), **settings)]
    with ak.launch(gates, engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", lambda: data, cross_entropy, epochs=2))
        list(network.watch())
        stem, head = network.status().gates
        assert (stem.skipped, head.skipped) == ({"non-finite": 2}, {})
        assert (stem.version, head.version) == (6, 8)
        assert all(parameter.isfinite().all() for parameter in network.model().parameters())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ([{"norm": "network"}, {}], r"gate 'a' has norm='network' and gate 'b' 'gate': .* give them the same"),
        ([{"norm": "network", "accumulate": 2}, {}], r"gate 'a': norm='network' is that of single batches; leave out"),
        ([{"norm": "all"}, {}], r"gate 'a': norm must be 'gate' or 'network', not 'all'"),
    ],
)
def test_norms_that_cannot_be_are_refused(settings: list[dict[str, Any]], text: str) -> None:
    with pytest.raises(ak.WiringError, match=text):
        ak.launch([ak.Gate(name, nn.Linear(2, 2), MOMENTUM, **each) for name, each in zip("ab", settings, strict=True)])


def test_two_predictors_are_refused() -> None:
    class Other(ak.Compensation):
        def start(self, parameters: Any, optimizer: Any) -> ak.Compensator:
            return Predictor()

    class Predictor(ak.Compensator):
        def predict(self, staleness: int) -> list[Tensor] | None:
            return None

    gate = ak.Gate("a", nn.Linear(2, 2), MOMENTUM, [ak.WeightPrediction(), Other()])
    with pytest.raises(ak.ActorFailed, match="gate 'a' has two compensations that predict weights"):
        ak.launch([gate])


def test_the_status_tells_how_large_gradients_and_corrections_are(engine: Engine) -> None:
    with_it = train_as_network(gates(MOMENTUM, ak.SpikeCompensation()), engine, make_batches(60), in_flight=4)
    assert all(gate.gradient_norm > 0 for gate in with_it.gates)
    assert with_it.gates[0].correction_norm > 0
