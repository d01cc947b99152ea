"""Delay compensation against its formula, computed here without tensors, and in networks and loops."""

import math
import re
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Stepped
from akkordeon.staleness import Arrival, Compensation, Compensator
from tests.properties.numerics.loops import (
    SEED,
    Batches,
    Recorded,
    Recorder,
    assert_same,
    assert_same_tensors,
    squares,
    train_as_network,
)


class Formula:
    """Equations 5 and 7 for one coordinate, in Python's floats."""

    def __init__(self, *, strength: float, decay: float | None = None, epsilon: float = 1e-7) -> None:
        self.strength = strength
        self.decay = decay
        self.epsilon = epsilon
        self.square = 0.0

    def corrected(self, g: float, now: float, then: float, *, staleness: int) -> float:
        rate = self.strength
        if self.decay is not None:
            self.square = self.decay * self.square + (1 - self.decay) * g * g
            rate = self.strength / math.sqrt(self.square + self.epsilon)
        return g + rate * g * g * (now - then) if staleness else g


def arrival(now: Sequence[Tensor], then: Sequence[Tensor], staleness: int = 1) -> Arrival:
    return Arrival(staleness=staleness, now=now, then=then)


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double)


KINDS = [
    (ak.DelayCompensation(), {"strength": 2.0, "decay": 0.95}),
    (ak.DelayCompensation(0.5, decay=0.0, epsilon=1e-3), {"strength": 0.5, "decay": 0.0, "epsilon": 1e-3}),
    (ak.DelayCompensation(adaptive=False), {"strength": 0.04}),
    (ak.DelayCompensation(3.0, adaptive=False), {"strength": 3.0}),
]
NONE = SGD([torch.zeros(1)], lr=0.1)
"""It is about gradients alone, whatever the optimizer."""

NAMES = ["adaptive", "adaptive, other values", "constant", "constant, other value"]


@pytest.mark.parametrize(("compensation", "values"), KINDS, ids=NAMES)
def test_gradients_are_corrected_by_the_formula(compensation: ak.DelayCompensation, values: dict[str, float]) -> None:
    shape = (2, 3)
    compensator = compensation.start([doubles(*shape)], NONE)
    formulas = [Formula(**values) for _ in range(6)]
    for staleness in (3, 1, 0, 0, 2, 7):
        g, now, then = doubles(*shape), doubles(*shape), doubles(*shape)
        (ours,) = compensator.correct([g], arrival([now], [then], staleness))
        expected = [
            formula.corrected(*numbers, staleness=staleness)
            for formula, *numbers in zip(formulas, *(t.flatten().tolist() for t in (g, now, then)), strict=True)
        ]
        assert ours is not None
        assert ours.flatten().tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("compensation", [compensation for compensation, _ in KINDS], ids=NAMES)
def test_a_gradient_that_is_not_late_stays_as_it_is(compensation: ak.DelayCompensation) -> None:
    g = torch.tensor([-0.0, 0.0, 1e-40, -3.5, 7e37])
    compensator = compensation.start([g], NONE)
    (ours,) = compensator.correct([g], arrival([g + 1], [g - 1], staleness=0))
    assert ours is not None
    assert torch.equal(ours.view(torch.int32), torch.tensor([-0.0, 0.0, 1e-40, -3.5, 7e37]).view(torch.int32))


@pytest.mark.parametrize("compensation", [compensation for compensation, _ in KINDS], ids=NAMES)
def test_a_late_gradient_at_unchanged_weights_stays_as_it_is(compensation: ak.DelayCompensation) -> None:
    g, weight = doubles(5), doubles(5)
    (ours,) = compensation.start([weight], NONE).correct([g], arrival([weight], [weight.clone()], staleness=4))
    assert_same_tensors([ours], [g])


def test_gradients_that_are_not_late_still_count_in_the_mean_of_squares() -> None:
    g, now, then = doubles(4), doubles(4), doubles(4)
    fresh = ak.DelayCompensation().start([now], NONE)
    (without,) = fresh.correct([g], arrival([now], [then]))
    warmed = ak.DelayCompensation().start([now], NONE)
    warmed.correct([10 * g], arrival([now], [now], staleness=0))
    (with_history,) = warmed.correct([g], arrival([now], [then]))
    assert without is not None
    assert with_history is not None
    assert bool(((without - g).abs() > (with_history - g).abs()).all())


@pytest.mark.parametrize("adaptive", [True, False])
def test_what_is_given_is_not_written(adaptive: bool) -> None:
    given = [doubles(4) for _ in range(3)]
    copies = [tensor.clone() for tensor in given]
    g, now, then = given
    ak.DelayCompensation(adaptive=adaptive).start([now], NONE).correct([g], arrival([now], [then]))
    assert_same_tensors(given, copies)


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_parameter_without_a_gradient_gets_none_and_keeps_its_state(adaptive: bool) -> None:
    weights, then = [doubles(4), doubles(3)], [doubles(4), doubles(3)]
    g = doubles(3)
    compensation = ak.DelayCompensation(adaptive=adaptive)
    interrupted, straight = compensation.start(weights, NONE), compensation.start(weights, NONE)
    for _ in range(3):
        nothing, _ = interrupted.correct([None, g], arrival(weights, then))
        assert nothing is None
    straight.correct([None, g], arrival(weights, then))
    first = doubles(4)
    assert_same_tensors(
        interrupted.correct([first, None], arrival(weights, then)),
        straight.correct([first, None], arrival(weights, then)),
    )


# Quadratics


@pytest.mark.parametrize("staleness", [1, 3, 8])
def test_with_the_true_curvature_the_trajectory_is_that_without_delay(staleness: int) -> None:
    curvature, lr = 1.0, 0.5  # each step halves the weight, so nothing is rounded
    weights = [torch.tensor([8.0], dtype=torch.double)]
    undelayed = 8.0
    for step in range(30):
        now, then = weights[-1], weights[max(0, step - staleness)]
        g = curvature * then
        exact = ak.DelayCompensation(curvature / float(g) ** 2, adaptive=False).start([now], NONE)
        (corrected,) = exact.correct([g], arrival([now], [then], min(step, staleness)))
        assert corrected is not None
        weights.append(now - lr * corrected)
        undelayed -= lr * curvature * undelayed
        assert weights[-1].item() == undelayed


def test_an_undelayed_gradient_is_restored_wherever_the_strength_is_right() -> None:
    for _ in range(50):
        curvature = float(torch.rand(())) + 0.1
        now, then = doubles(1), doubles(1)
        g = curvature * then
        compensator = ak.DelayCompensation(curvature / float(g) ** 2, adaptive=False).start([now], NONE)
        (corrected,) = compensator.correct([g], arrival([now], [then]))
        assert corrected is not None
        torch.testing.assert_close(corrected, curvature * now, rtol=1e-9, atol=1e-9)


def test_the_adaptive_form_restores_it_too() -> None:
    curvature, now, then = 0.7, doubles(1), doubles(1)
    g = curvature * then
    strength = curvature / abs(float(g))  # the rate is strength / |g| where only the last gradient counts
    compensator = ak.DelayCompensation(strength, decay=0.0, epsilon=1e-30).start([now], NONE)
    (corrected,) = compensator.correct([g], arrival([now], [then]))
    assert corrected is not None
    torch.testing.assert_close(corrected, curvature * now)


# In a plain loop


@pytest.mark.parametrize("make", [partial(SGD, lr=0.1), partial(Adam, lr=0.01)], ids=["sgd", "adam"])
def test_it_works_alone_in_a_plain_loop(make: partial[torch.optim.Optimizer]) -> None:
    model = nn.Linear(4, 1)
    parameters = list(model.parameters())
    optimizer = make(parameters)
    compensator = ak.DelayCompensation().start(parameters, NONE)
    formulas = [Formula(strength=2.0, decay=0.95) for _ in range(5)]
    x = torch.randn(8, 4)
    for staleness in (0, 1, 2, 3, 2):
        then = [p.detach().clone() for p in parameters]
        optimizer.zero_grad()
        torch.autograd.backward(squares(model(x), x[:, :1]))
        with torch.no_grad():  # others update the parameters
            for p in parameters:
                p.add_(torch.randn_like(p), alpha=0.1 * staleness)
        raw = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).tolist()
        now = torch.cat([p.detach().flatten() for p in parameters]).tolist()
        was = torch.cat([p.flatten() for p in then]).tolist()

        gradients: list[Tensor | None] = [p.grad for p in parameters]
        late = Arrival(staleness=staleness, now=parameters, then=then)
        for p, g in zip(parameters, compensator.correct(gradients, late), strict=True):
            p.grad = g
        corrected = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).tolist()
        optimizer.step()

        expected = [
            formula.corrected(*numbers, staleness=staleness)
            for formula, *numbers in zip(formulas, raw, now, was, strict=True)
        ]
        assert corrected == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert not any(p.grad.requires_grad for p in parameters if p.grad is not None)


# In a network


def chain() -> list[nn.Module]:
    torch.manual_seed(SEED)
    return [nn.Sequential(nn.Linear(6, 8), nn.Tanh()), nn.Linear(8, 2)]


def make_batches(num: int = 40) -> Batches:
    torch.manual_seed(SEED)
    return [(torch.randn(5, 6), torch.randn(5, 2)) for _ in range(num)]


def train(
    compensations: Sequence[Compensation | Sequence[Compensation]], *, engine: Engine | None = None, in_flight: int = 4
) -> nn.Sequential:
    gates = [
        ak.Gate(f"gate {n}", module, partial(SGD, lr=0.1), compensation)
        for n, (module, compensation) in enumerate(zip(chain(), compensations, strict=True))
    ]
    engine = engine or Stepped(2, debug=True)
    return train_as_network(gates, engine, make_batches(), in_flight=in_flight, loss=squares).model


@pytest.mark.parametrize("adaptive", [True, False])
def test_with_one_batch_in_flight_it_changes_nothing(engine: Engine, adaptive: bool) -> None:
    compensation = ak.DelayCompensation(adaptive=adaptive)
    compensated = train([compensation, compensation], engine=engine, in_flight=1)
    assert_same(compensated, train([(), ()], in_flight=1))


def test_with_strength_zero_it_changes_nothing() -> None:
    nothing = ak.DelayCompensation(0.0)
    assert_same(train([nothing, nothing]), train([(), ()]))


def recorded() -> tuple[list[Recorded], list[Recorded]]:
    """Return what came to a compensation in the first gate, and what left it."""
    before, after = Recorder(), Recorder()
    train([[before, ak.DelayCompensation(), after], ak.DelayCompensation()])
    return before.seen, after.seen


def test_it_gets_the_weights_of_each_batch_s_own_forward() -> None:
    arrivals, _ = recorded()
    by_version = {each.arrival.version_now: each.now for each in arrivals}
    for each in arrivals:
        assert_same_tensors(each.then, by_version[each.arrival.version_forward])
    late = [each for each in arrivals if each.arrival.staleness > 1]
    assert late
    for each in late:  # the weights of the step before, which others use, are other weights
        assert not torch.equal(each.then[0], by_version[each.arrival.version_now - 1][0])


def test_the_optimizer_gets_what_the_formula_yields() -> None:
    arrivals, corrected = recorded()
    assert any(each.arrival.staleness for each in arrivals)
    formulas = [[Formula(strength=2.0, decay=0.95) for _ in range(weight.numel())] for weight in arrivals[0].now]
    for one, other in zip(arrivals, corrected, strict=True):
        for index, of_weight in enumerate(formulas):
            g, ours = one.gradients[index], other.gradients[index]
            assert g is not None
            assert ours is not None
            numbers = zip(*(t.flatten().tolist() for t in (g, one.now[index], one.then[index])), strict=True)
            expected = [
                formula.corrected(*values, staleness=one.arrival.staleness)
                for formula, values in zip(of_weight, numbers, strict=True)
            ]
            assert ours.flatten().tolist() == pytest.approx(expected, rel=1e-4, abs=1e-7)
    for one, following in zip(corrected, arrivals[1:], strict=False):
        stepped = [w.sub(g, alpha=0.1) for w, g in zip(one.now, one.gradients, strict=True) if g is not None]
        assert_same_tensors(following.now, stepped)


def test_one_description_serves_several_gates_with_state_of_its_own_for_each() -> None:
    shared = ak.DelayCompensation()
    separate = [ak.DelayCompensation(), ak.DelayCompensation()]
    compensated = train([shared, shared])
    assert_same(compensated, train(separate))
    assert not torch.equal(next(compensated.parameters()), next(train([(), ()]).parameters()))


def test_starting_twice_gives_two_states() -> None:
    compensation = ak.DelayCompensation()
    now, then, g = doubles(4), doubles(4), doubles(4)
    used, fresh = compensation.start([now], NONE), compensation.start([now], NONE)
    for _ in range(5):
        used.correct([100 * g], arrival([now], [then]))
    assert_same_tensors(
        fresh.correct([g], arrival([now], [then])), compensation.start([now], NONE).correct([g], arrival([now], [then]))
    )


def test_several_compensations_are_applied_in_order() -> None:
    doubled, shifted = Affine(2.0, 0.0), Affine(1.0, 0.5)
    gate = ak.Gate("gate", nn.Linear(6, 2), partial(SGD, lr=0.1), [doubled, shifted, recorder := Recorder()])
    raw = Recorder()
    plain = ak.Gate("gate", gate.module, partial(SGD, lr=0.1), raw)
    for each in (gate, plain):
        train_as_network([each], Stepped(debug=True), make_batches(1), loss=squares)
    ((given,), (ours,)) = raw.seen, recorder.seen
    assert_same_tensors(ours.gradients, [None if g is None else 2 * g + 0.5 for g in given.gradients])


class Affine(Compensation):
    def __init__(self, factor: float, shift: float) -> None:
        self.factor = factor
        self.shift = shift

    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        return _Affine(self)


class _Affine(Compensator):
    def __init__(self, description: Affine) -> None:
        self.description = description

    def correct(self, gradients: Sequence[Tensor | None], arrival: Arrival) -> list[Tensor | None]:
        factor, shift = self.description.factor, self.description.shift
        return [None if g is None else factor * g + shift for g in gradients]


def test_frozen_parameters_are_not_compensated_for() -> None:
    module = chain()[0]
    next(module.parameters()).requires_grad_(False)
    recorder = Recorder()
    gates = [
        ak.Gate("stem", module, partial(SGD, lr=0.1), [ak.DelayCompensation(), recorder]),
        ak.Gate("head", nn.Linear(8, 2), partial(SGD, lr=0.1), ak.DelayCompensation()),
    ]
    train_as_network(gates, Stepped(2, debug=True), make_batches(), in_flight=4, loss=squares)
    assert {len(each.gradients) for each in recorder.seen} == {1}
    assert {len(each.then) for each in recorder.seen} == {1}


# Mistakes


def test_a_gate_that_recomputes_is_refused() -> None:
    message = (
        "gate 'stem': DelayCompensation needs the weights of each batch's forward, "
        'which "recomputed" does not keep; use activations="stashed"'
    )
    with pytest.raises(ak.WiringError, match=f"^{re.escape(message)}$"):
        ak.Gate("stem", nn.Linear(2, 2), partial(SGD, lr=0.1), ak.DelayCompensation(), activations="recomputed")


def test_something_else_than_a_compensation_is_refused() -> None:
    with pytest.raises(ak.WiringError, match=r"gate 'stem': 0\.04 is not a compensation; give one such as"):
        ak.Gate("stem", nn.Linear(2, 2), partial(SGD, lr=0.1), [0.04])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strength": -1.0}, r"^strength must be at least 0, not -1\.0$"),
        ({"decay": 1.0}, r"^decay must be at least 0 and less than 1, not 1\.0$"),
        ({"decay": -0.1}, r"^decay must be at least 0 and less than 1, not -0\.1$"),
        ({"epsilon": 0.0}, r"^epsilon must be positive, not 0\.0$"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ak.DelayCompensation(**values)  # type: ignore[arg-type]
