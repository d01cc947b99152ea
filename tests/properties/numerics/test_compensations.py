"""Each compensation against its formula, computed here for single numbers in plain Python."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import sqrt
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, NAdam, RMSprop

import akkordeon as ak
from akkordeon.messages.batches import TOO_STALE
from tests.properties.numerics.arriving import (
    GRADIENTS,
    LR,
    MOMENTUM,
    STALENESS,
    START,
    Late,
    M,
    arrivals,
    assert_follows,
    close,
)

PLAIN = partial(SGD, lr=LR)
ADAM = partial(Adam, lr=LR, betas=(0.9, 0.99), eps=1e-3)
ADAMW = partial(AdamW, lr=LR, betas=(0.9, 0.99), eps=1e-3, weight_decay=0.2)


# Spike compensation


def test_spike_compensation_pays_at_once_what_was_missed() -> None:
    def formula(index: int) -> Iterator[float]:
        w, v = START[index], 0.0
        for g, staleness in arrivals(index):
            v = M * v + M**staleness * g
            w -= LR * (v + (1 - M**staleness) / (1 - M) * g)
            yield w

    assert_follows(Late(ak.SpikeCompensation(), MOMENTUM), formula)


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_spike_compensation_is_as_published_where_staleness_is_constant(staleness: int) -> None:
    late = Late(ak.SpikeCompensation(), MOMENTUM)
    late.history = [late.now] * (staleness + 1)  # as if so many updates had been of nothing
    late.run(GRADIENTS, [staleness] * len(GRADIENTS))
    w, v = START[1], 0.0
    for (_, g, _), now in zip(GRADIENTS, late.coordinate(1)[staleness + 1 :], strict=True):
        v = M * v + g
        w -= LR * (M**staleness * v + (1 - M**staleness) / (1 - M) * g)
        assert now == close(w)


def test_spike_compensation_at_staleness_one_is_nesterovs_momentum() -> None:
    late = Late(ak.SpikeCompensation(), MOMENTUM)
    late.history = [late.now] * 2
    late.run(GRADIENTS, [1] * len(GRADIENTS))
    weight = torch.tensor(START, dtype=torch.double, requires_grad=True)
    optimizer = SGD([weight], lr=LR, momentum=M, nesterov=True)
    for gradient, now in zip(GRADIENTS, late.history[2:], strict=True):
        weight.grad = torch.tensor(gradient, dtype=torch.double)
        optimizer.step()
        assert now == close(weight.tolist())


@pytest.mark.parametrize("staleness", [[0] * 9, [3, 1, 4, 1, 5, 2, 6, 5, 3], [7, 0, 0, 2, 0, 0, 1, 0, 0]])
def test_the_impulse_of_a_gradient_is_the_same_for_all_staleness_to_come(staleness: Sequence[int]) -> None:
    late = Late(ak.SpikeCompensation(), MOMENTUM)
    late.history = [late.now] * 10
    late.run([[1.0, 0.0, 0.0]] + [[0.0, 0.0, 0.0]] * 400, [*staleness, *([2] * 392)])
    moved = START[0] - late.now[0]
    assert moved == pytest.approx(LR / (1 - M), rel=1e-9)


@pytest.mark.parametrize("optimizer", [ADAM, ADAMW], ids=["Adam", "AdamW"])
def test_spike_compensation_of_adam_mixes_the_fresh_gradient_in(optimizer: partial[Adam]) -> None:
    decay = optimizer.keywords.get("weight_decay", 0.0)

    def formula(index: int) -> Iterator[float]:
        w, mean, square = START[index], 0.0, 0.0
        for step, (g, staleness) in enumerate(arrivals(index), 1):
            mean, square = 0.9 * mean + 0.1 * g, 0.99 * square + 0.01 * g * g
            share = 0.9**staleness
            direction = share * mean / (1 - 0.9**step) + (1 - share) * g
            w = w * (1 - LR * decay) - LR * direction / (sqrt(square / (1 - 0.99**step)) + 1e-3)
            yield w

    assert_follows(Late(ak.SpikeCompensation(), optimizer), formula)


# Prediction


def test_linear_prediction_goes_on_along_the_momentum() -> None:
    late = Late(ak.WeightPrediction(), MOMENTUM).run()
    for index in range(3):
        v = 0.0
        for g, _ in arrivals(index):
            v = M * v + g
        for staleness in range(6):
            assert late.predicted(staleness)[index] == close(late.now[index] - LR * staleness * v)


@pytest.mark.parametrize("staleness", [1, 2, 5])
def test_decaying_prediction_is_where_sgd_goes_without_gradients(staleness: int) -> None:
    late = Late(ak.WeightPrediction("decaying"), MOMENTUM).run()
    predicted = late.predicted(staleness)
    late.run([[0.0, 0.0, 0.0]] * staleness, [0] * staleness)
    assert predicted == close(late.now)


@pytest.mark.parametrize("optimizer", [ADAM, ADAMW], ids=["Adam", "AdamW"])
@pytest.mark.parametrize("form", ["linear", "decaying"])
def test_prediction_of_adam_goes_on_along_its_means(form: Any, optimizer: partial[Adam]) -> None:
    late = Late(ak.WeightPrediction(form), optimizer).run()
    decay = optimizer.keywords.get("weight_decay", 0.0)
    steps = len(GRADIENTS)
    for index in range(3):
        mean = square = 0.0
        for g, _ in arrivals(index):
            mean, square = 0.9 * mean + 0.1 * g, 0.99 * square + 0.01 * g * g
        root = sqrt(square / (1 - 0.99**steps)) + 1e-3
        for staleness in range(1, 5):
            w = late.now[index]
            if form == "linear":
                expected = w * (1 - LR * decay * staleness) - LR * staleness * mean / (1 - 0.9**steps) / root
            else:
                means = [0.9**i * mean / (1 - 0.9 ** (steps + i)) for i in range(1, staleness + 1)]
                expected = w - LR * sum(means) / root
            assert late.predicted(staleness)[index] == close(expected)


@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAMW, partial(RMSprop, lr=LR)], ids=["SGD", "AdamW", "RMSprop"])
def test_the_last_step_is_taken_again_as_often_as_there_are_updates_to_come(optimizer: Any) -> None:
    late = Late(ak.WeightPrediction("last step", scale=0.5), optimizer).run()
    before, now = late.history[-2:]
    expected = [w + 3 * 0.5 * (w - b) for w, b in zip(now, before, strict=True)]
    assert late.predicted(3) == close(expected)


@pytest.mark.parametrize("form", ["linear", "decaying", "last step"])
def test_nothing_is_predicted_before_the_first_update_nor_where_nothing_is_out(form: Any) -> None:
    late = Late(ak.WeightPrediction(form), MOMENTUM)
    assert late.predicted(3) == START
    late.run()
    assert late.predicted(0) == late.now != late.predicted(1)


def test_predicting_changes_no_live_weight_and_shares_what_is_frozen() -> None:
    late = Late(ak.WeightPrediction(), MOMENTUM).run()
    before = late.now
    snapshot = late.learner.snapshot(4)
    assert late.now == before
    assert snapshot is late.learner.snapshot(4)
    assert [tensor.requires_grad for tensor in snapshot.tensors] == [True, False]
    assert snapshot.tensors[1].data_ptr() == late.learner.weights.live[1].data_ptr()


def test_with_accumulation_what_is_out_makes_fewer_updates() -> None:
    alone = Late(ak.WeightPrediction(), MOMENTUM).run(GRADIENTS[:1], [0])
    late = Late(ak.WeightPrediction(), MOMENTUM, accumulate=3).run([GRADIENTS[0]] * 3, [0, 0, 0])
    assert late.now == close(alone.now)
    assert late.predicted(2) == late.now
    assert late.predicted(7) == close(alone.predicted(2))
    late.arrives([0.0, 0.0, 0.0], 0)
    assert late.predicted(2) == close(alone.predicted(1))


# Gradient energy matching


@pytest.mark.parametrize("most", [5.0, 1.5, math.inf])
def test_gradient_energy_matching_steps_as_far_as_its_proxy_less_what_has_gone_by(most: float) -> None:
    shares = []

    def formula(index: int) -> Iterator[float]:
        history, proxy = [START[index]], 0.0
        for g, staleness in arrivals(index):
            w, step = history[-1], -LR * g
            proxy = 0.7 * proxy + step
            shares.append((abs(proxy) - abs(w - history[-1 - staleness])) / (abs(step) + 1e-16))
            history.append(w + min(max(shares[-1], 0.0), most) * step)
            yield history[-1]

    assert_follows(Late(ak.GradientEnergyMatching(momentum=0.7, most=most), PLAIN), formula)
    assert min(shares) < 0
    assert max(shares) > 1.5


def test_gradient_energy_matching_stays_where_delays_would_drive_it_uphill() -> None:
    """A quadratic, ten gradients late: what goes further than its proxy must not be turned round."""
    late = Late(ak.GradientEnergyMatching(), PLAIN)
    for count in range(400):
        late.arrives([2 * w for w in late.history[-1 - min(count, 9)]], min(count, 9))
    assert max(abs(w) for w in late.now) < max(abs(w) for w in START)


# Guards


@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAMW], ids=["SGD", "AdamW"])
def test_the_rate_is_scaled_by_the_staleness_whatever_the_optimizer(optimizer: partial[Any], power: float) -> None:
    late = Late(ak.StalenessScaledRate(power), optimizer).run()
    weight = torch.tensor(START, dtype=torch.double, requires_grad=True)
    plain = optimizer([weight])
    for gradient, staleness, now in zip(GRADIENTS, STALENESS, late.history[1:], strict=True):
        plain.param_groups[0]["lr"] = LR / (1 + staleness) ** power
        weight.grad = torch.tensor(gradient, dtype=torch.double)
        plain.step()
        assert now == close(weight.tolist())


def test_the_rate_is_what_it_was_after_a_late_gradient() -> None:
    late = Late(ak.StalenessScaledRate(), MOMENTUM).run()
    assert late.learner.state().rest["optimizer"]["param_groups"][0]["lr"] == LR


def test_the_rate_of_several_batches_is_the_mean() -> None:
    late = Late(ak.StalenessScaledRate(), PLAIN, accumulate=2)
    late.history = [late.now] * 4
    late.run([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]], [3, 0])
    assert late.now == close([w - LR * (1 / 4 + 1) / 2 * 2.0 for w in START])


def test_rate_rescheduling_begins_low_and_ends_at_the_rate() -> None:
    late = Late(ak.RateRescheduling(updates=4), PLAIN)

    def formula(index: int) -> Iterator[float]:
        w, total = START[index], 0
        for step, (g, staleness) in enumerate(arrivals(index)):
            total += staleness
            mean = total / (step + 1)
            w -= LR / max(mean, 1) ** (1 - min(step / 4, 1)) * g
            yield w

    assert_follows(late, formula)


def test_a_gradient_at_the_limit_is_dropped_and_leaves_no_trace() -> None:
    late = Late([ak.GapAware(), ak.StalenessLimit(2)], MOMENTUM)
    outcomes = [late.arrives(g, s) for g, s in zip(GRADIENTS, [0, 1, 2, 1, 3, 0, 1], strict=True)]
    assert outcomes == [0, 1, TOO_STALE, 1, TOO_STALE, 0, 1]
    other = Late(ak.GapAware(), MOMENTUM)
    other.run([g for g, o in zip(GRADIENTS, outcomes, strict=True) if o != TOO_STALE], [0, 1, 1, 0, 1])
    assert late.history == other.history


# PipeMare's estimate of the forward's weights


def test_the_weights_of_the_forward_are_estimated_from_their_drift() -> None:
    late = Late(ak.DiscrepancyCorrection(decay=0.2), PLAIN, activations="recomputed").run()
    drift = [0.0, 0.0, 0.0]
    for step in range(1, len(GRADIENTS) + 1):
        mean = sum(STALENESS[:step]) / step
        gamma = 0.2 ** (1 / mean) if mean else 0.0
        moved = [now - before for before, now in zip(*late.history[step - 1 : step + 1], strict=True)]
        drift = [gamma * a + (1 - gamma) * b for a, b in zip(drift, moved, strict=True)]
    (recalled,) = late.learner.recall(3).trainable
    assert recalled.tolist() == close([w - 3 * each for w, each in zip(late.now, drift, strict=True)])
    assert torch.equal(late.learner.recall(0).trainable[0], late.learner.weights.trainable[0])


# NAdamW


def test_nadamw_is_torchs_with_the_momentum_schedule_of_a_longer_run() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    (group,) = ak.nadamw([weight], lr=0.1, updates=2_000).param_groups
    assert (group["betas"], group["decoupled_weight_decay"]) == ((0.99, 0.999), True)
    (published,) = ak.nadamw([weight]).param_groups
    assert published["momentum_decay"] == 0.004
    # After all of its updates the momentum is what it is after 50,000 as published.
    assert group["momentum_decay"] * 2_000 == pytest.approx(published["momentum_decay"] * 50_000)


# What goes together


@pytest.mark.parametrize(
    ("compensation", "optimizer", "text"),
    [
        (ak.SpikeCompensation(), PLAIN, "needs SGD with momentum, and this one has momentum=0; set it"),
        (ak.SpikeCompensation(), partial(MOMENTUM, nesterov=True), "nesterov, dampening and maximize"),
        (ak.SpikeCompensation(), partial(MOMENTUM, dampening=0.1), "nesterov, dampening and maximize"),
        (ak.SpikeCompensation(), partial(NAdam, lr=LR), "needs SGD with momentum, not NAdam"),
        (ak.SpikeCompensation(), partial(Adam, amsgrad=True), "amsgrad and maximize"),
        (ak.SpikeCompensation(), partial(Adam, weight_decay=0.1), "use AdamW"),
        (ak.WeightPrediction(), partial(RMSprop, lr=LR), r"not RMSprop; use WeightPrediction\('last step'\)"),
        (ak.WeightPrediction(), PLAIN, "needs SGD with momentum"),
        (ak.GapAware(), ADAM, "needs SGD with momentum, not Adam"),
        (ak.GradientEnergyMatching(), MOMENTUM, "its proxy has the momentum, and minimizes; .* use plain SGD"),
        (ak.GradientEnergyMatching(), ADAM, "needs SGD, not Adam"),
        (ak.DiscrepancyCorrection(), PLAIN, 'which "stashed" has'),
        ([ak.WeightPrediction(), ak.WeightPrediction("decaying")], MOMENTUM, "WeightPrediction is given twice"),
        ([ak.DelayCompensation(), ak.DelayCompensation(adaptive=False)], SGD, "DelayCompensation is given twice"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(compensation: Any, optimizer: Any, text: str) -> None:
    with pytest.raises(ak.WiringError, match=r"gate 'line': .*" + text):
        Late(compensation, optimizer)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ak.WeightPrediction("decay"),  # type: ignore[arg-type]
        lambda: ak.WeightPrediction(scale=0.0),
        lambda: ak.GapAware(decay=1.0),
        lambda: ak.GapAware(epsilon=0.0),
        lambda: ak.GradientEnergyMatching(momentum=1.0),
        lambda: ak.GradientEnergyMatching(epsilon=0.0),
        lambda: ak.GradientEnergyMatching(most=0.0),
        lambda: ak.StalenessScaledRate(-1.0),
        lambda: ak.StalenessLimit(0),
        lambda: ak.RateRescheduling(0),
        lambda: ak.DiscrepancyCorrection(decay=0.0),
    ],
)
def test_values_that_cannot_be_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must"):
        make()


ALL: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "delay": (ak.DelayCompensation(), MOMENTUM, {}),
    "delay constant": (ak.DelayCompensation(adaptive=False), PLAIN, {}),
    "spike": (ak.SpikeCompensation(), MOMENTUM, {}),
    "spike of AdamW": (ak.SpikeCompensation(), ADAMW, {}),
    "linear": (ak.WeightPrediction(), MOMENTUM, {}),
    "last step": (ak.WeightPrediction("last step"), MOMENTUM, {}),
    "gap": (ak.GapAware(), MOMENTUM, {}),
    "energy": (ak.GradientEnergyMatching(), PLAIN, {}),
    "rate": (ak.StalenessScaledRate(), MOMENTUM, {"accumulate": 2}),
    "rescheduling": (ak.RateRescheduling(5), ADAM, {}),
    "discrepancy": (ak.DiscrepancyCorrection(), MOMENTUM, {"activations": "recomputed"}),
}


@pytest.mark.parametrize("name", ALL)
def test_what_is_kept_is_saved(name: str) -> None:
    compensation, optimizer, settings = ALL[name]
    straight = Late(compensation, optimizer, **settings).run()
    interrupted = Late(compensation, optimizer, **settings)
    interrupted.run(GRADIENTS[:4], STALENESS[:4])
    interrupted.learner = interrupted.make(interrupted.learner.state(random=False))
    interrupted.run(GRADIENTS[4:], STALENESS[4:])
    assert interrupted.history == straight.history
    assert interrupted.predicted(2) == straight.predicted(2)
    assert torch.equal(interrupted.learner.recall(2).trainable[0], straight.learner.recall(2).trainable[0])


# How large gradients and corrections are


def test_the_norms_of_gradient_and_correction_are_told() -> None:
    late = Late(ak.SpikeCompensation(), MOMENTUM)
    late.history = [late.now] * 2
    late.arrives([3.0, 4.0, 0.0], 1)
    norms = late.learner.norms
    assert norms.gradient.value == pytest.approx(5.0)
    # Nesterov's momentum against the usual one, in the first step: m g.
    assert norms.correction.value == pytest.approx(M * 5.0)


def test_without_compensation_the_correction_is_nothing() -> None:
    late = Late([], MOMENTUM).run()
    assert late.learner.norms.gradient.value > 0
    assert late.learner.norms.correction.value == 0
