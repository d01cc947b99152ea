"""Beside `maximize`, and for complex weights, each compensation does what its formula says, or refuses by name."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Delays, Stepped, exponential
from akkordeon.gate.backward import BatchGradients
from akkordeon.gate.learner import Learner
from tests.networks import data
from tests.properties.numerics.loops import assert_same, assert_same_tensors

COMPENSATIONS: dict[str, ak.Compensation] = {
    "delay": ak.DelayCompensation(),
    "constant delay": ak.DelayCompensation(1.0, adaptive=False),
    "gap": ak.GapAware(),
    "energy": ak.GradientEnergyMatching(),
    "spike": ak.SpikeCompensation(),
    "linear": ak.WeightPrediction(),
    "decaying": ak.WeightPrediction("decaying"),
    "last step": ak.WeightPrediction("last step"),
    "rate": ak.StalenessScaledRate(),
    "rescheduling": ak.RateRescheduling(updates=5),
    "limit": ak.StalenessLimit(2),
    "discrepancy": ak.DiscrepancyCorrection(),
}

OPTIMIZERS: dict[str, Any] = {
    "SGD": partial(optim.SGD, lr=0.1),
    "momentum": partial(optim.SGD, lr=0.1, momentum=0.9),
    "AdamW": partial(optim.AdamW, lr=0.1, weight_decay=0.0),
    "RMSprop": partial(optim.RMSprop, lr=0.1),
}

NEVER = {"gap", "energy", "spike", "linear", "decaying"}
"""Those that compute with an optimizer's steps, and refuse one that goes uphill."""


class Line(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -0.5, 0.25]).to(dtype))
        self.bias = nn.Parameter(torch.tensor([0.5]).to(dtype))


def described(name: str, optimizer: Any, dtype: torch.dtype = torch.float32) -> ak.Gate:
    return as_gate(name, Line(dtype), optimizer)


def as_gate(name: str, module: nn.Module, optimizer: Any) -> ak.Gate:
    settings: dict[str, Any] = {"activations": "recomputed"} if name == "discrepancy" else {}
    return ak.Gate("line", module, optimizer, COMPENSATIONS[name], **settings)


def learned(gate: ak.Gate, sign: float, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Take in gradients of a staleness of 0 to 3, one after the other; return all weights, and those predicted."""
    learner, generator = Learner(gate), torch.Generator().manual_seed(6)
    history = [[each.detach().clone() for each in learner.weights.trainable]]
    for step in range(12):
        staleness = min(step % 4, step)
        g: list[Tensor | None] = [sign * torch.randn(size, generator=generator, dtype=dtype) for size in (3, 1)]
        then = history[max(0, len(history) - 1 - staleness)]
        arrival = ak.Arrival(staleness, learner.weights.trainable, then, version_now=len(history))
        learner.learn(BatchGradients(g, (), finite=True), staleness, partial(lambda it: it, arrival))
        history.append([each.detach().clone() for each in learner.weights.trainable])
    ahead = [*learner.snapshot(2).trainable, *learner.recall(2).trainable]
    return [*(each for version in history for each in version), *(each.detach() for each in ahead)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", COMPENSATIONS)
def test_uphill_on_the_negative_is_downhill_or_refused(name: str, optimizer: str) -> None:
    downhill, uphill = OPTIMIZERS[optimizer], partial(OPTIMIZERS[optimizer], maximize=True)
    if name in NEVER:
        with pytest.raises(ak.WiringError, match=rf"gate 'line': {type(COMPENSATIONS[name]).__name__} cannot be used"):
            described(name, uphill)
        return
    assert_same_tensors(learned(described(name, uphill), -1), learned(described(name, downhill), 1))


def test_only_the_groups_that_go_uphill_are_corrected_the_other_way() -> None:
    def of_signs(*signs: int) -> Any:
        return lambda parameters: optim.SGD(
            [{"params": [p], "maximize": sign < 0} for p, sign in zip(parameters, signs, strict=True)], lr=0.1
        )

    # The gradient of the weight is turned around by hand, as `learned` turns both.
    both = learned(described("delay", of_signs(-1, -1)), -1)
    none = learned(described("delay", of_signs(1, 1)), 1)
    weight = learned(described("delay", of_signs(-1, 1)), -1)
    assert_same_tensors(both, none)
    assert_same_tensors(weight[::2], none[::2])
    assert not torch.equal(weight[-1], none[-1])


REAL_ALONE = {
    "delay": "SGD",
    "constant delay": "SGD",
    "gap": "momentum",
    "energy": "SGD",
    "spike": "AdamW",
    "linear": "AdamW",
}


@pytest.mark.parametrize("name", REAL_ALONE)
def test_a_formula_for_real_weights_refuses_complex_ones(name: str) -> None:
    with pytest.raises(ak.WiringError, match=r"gate 'line': .* is one for real weights, and some are complex"):
        described(name, OPTIMIZERS[REAL_ALONE[name]], torch.complex64)
    assert described(name, OPTIMIZERS[REAL_ALONE[name]])


@pytest.mark.parametrize("name", ["spike", "linear", "decaying", "last step", "rate", "rescheduling", "discrepancy"])
def test_what_is_linear_treats_complex_weights_as_two_real_ones(name: str) -> None:
    found = learned(described(name, OPTIMIZERS["momentum"], torch.complex64), 1, torch.complex64)
    torch.manual_seed(0)

    class Two(Line):
        def __init__(self) -> None:
            super().__init__(torch.complex64)
            self.weight = nn.Parameter(torch.view_as_real(self.weight.detach()).clone())
            self.bias = nn.Parameter(torch.view_as_real(self.bias.detach()).clone())

    learner, generator = Learner(as_gate(name, Two(), OPTIMIZERS["momentum"])), torch.Generator().manual_seed(6)
    for step in range(12):
        staleness = min(step % 4, step)
        g = [torch.randn(size, generator=generator, dtype=torch.complex64) for size in (3, 1)]
        arrival = ak.Arrival(staleness, learner.weights.trainable, (), version_now=step + 1)
        real: list[Tensor | None] = [torch.view_as_real(each).clone() for each in g]
        learner.learn(BatchGradients(real, (), finite=True), staleness, partial(lambda it: it, arrival))
    ahead = [*learner.weights.trainable, *learner.snapshot(2).trainable, *learner.recall(2).trainable]
    for ours, theirs in zip(found[-6:], ahead, strict=True):
        torch.testing.assert_close(torch.view_as_real(ours), theirs.detach())


def test_a_network_climbs_as_it_descends(engine: Engine) -> None:
    """On threads nothing is late here; see below."""
    models = []
    for sign, used in ((1, engine), (-1, Stepped(seed=1))):
        with ak.launch(chain(sign), engine=used) as network:
            network.attach(ak.TrainingSentinel("train", data(), partial(signed, sign), epochs=3))
            list(network.watch())
            models.append(network.model())
    assert_same(*models)


def test_a_network_climbs_as_it_descends_with_late_gradients() -> None:
    models = []
    for sign in (1, -1):
        late = Delays(link=exponential(0.01), work=exponential(0.01))
        with ak.launch(chain(sign), engine=Stepped(seed=1, delays=late)) as network:
            network.attach(ak.TrainingSentinel("train", data(), partial(signed, sign), in_flight=6, epochs=6))
            (*_, report) = network.watch()
            assert report.staleness["stem"].mean > 1
            models.append(network.model())
    assert_same(*models)


def signed(sign: int, output: Tensor, target: Tensor) -> Tensor:
    return sign * cross_entropy(output, target)


def chain(sign: int) -> list[ak.Gate]:
    torch.manual_seed(0)
    make = partial(optim.SGD, lr=0.1, maximize=sign < 0)
    compensation = ak.DelayCompensation()
    return [
        ak.Gate("stem", nn.Sequential(nn.Linear(4, 6), nn.Tanh()), make, compensation),
        ak.Gate("head", nn.Linear(6, 3), make, compensation),
    ]
