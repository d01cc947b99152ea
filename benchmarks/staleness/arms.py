"""Ways to train that are compared: base optimizers with compensations, and alternatives without them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

from torch import nn
from torch.optim import SGD, Adagrad, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR

from akkordeon.gate.description import Gate
from akkordeon.staleness import (
    Compensation,
    DelayCompensation,
    DiscrepancyCorrection,
    GapAware,
    GradientEnergyMatching,
    RateRescheduling,
    SpikeCompensation,
    StalenessScaledRate,
    WeightPrediction,
    nadamw,
)

SYNCHRONOUS, UNCOMPENSATED = "synchronous", "uncompensated"

Make = Callable[..., Optimizer]


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Args:
        name: in tables.
        optimizer: takes parameters and `lr`; and `updates`, the number planned, if `planned`.
        compensation: beside the optimizer; called with the number of updates planned.
        settings: of all gates.
        faster: factor on the learning rates to try; without momentum, they must be higher.
        planned: whether the optimizer needs the number of updates.
        finish: share of the updates, at the end, with one batch in flight.
    """

    name: str
    optimizer: Make
    compensation: Callable[[int], Sequence[Compensation]] = lambda _: ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    faster: float = 1.0
    planned: bool = False
    finish: float = 0.0

    def gates(self, modules: Sequence[nn.Module], lr: float, updates: int, *, warm_up: int = 0) -> list[Gate]:
        """Return gates of these modules.

        Args:
            modules: of the gates.
            lr: learning rate.
            updates: planned.
            warm_up: updates over which the rate rises; then it falls to a tenth along a cosine. 0 keeps it constant.
        """
        make = partial(self.optimizer, lr=lr, **({"updates": updates} if self.planned else {}))
        settings: dict[str, Any] = {"compensation": self.compensation(updates), **self.settings}
        if warm_up:
            settings["scheduler"] = partial(LambdaLR, lr_lambda=partial(_share, updates=updates, warm_up=warm_up))
        return [Gate(str(number), module, make, **settings) for number, module in enumerate(modules)]


def sgd_arms(momentum: float) -> dict[str, Arm]:
    """Return the arms with SGD and momentum as the base."""
    base = partial(SGD, momentum=momentum)
    low = momentum / 2
    without, less = 1 / (1 - momentum), (1 - low) / (1 - momentum)
    arms = [
        Arm(SYNCHRONOUS, base),
        Arm(UNCOMPENSATED, base),
        Arm("momentum 0", SGD, faster=without),
        Arm(f"momentum {low:.2g}", partial(SGD, momentum=low), faster=less),
        Arm("η/(1+τ)", base, lambda _: [StalenessScaledRate()]),
        Arm("T1", base, lambda updates: [_annealed(updates)]),
        Arm("spike", base, lambda _: [SpikeCompensation()]),
        Arm("linear", base, lambda _: [WeightPrediction("linear")]),
        Arm("decaying", base, lambda _: [WeightPrediction("decaying")]),
        Arm("linear + spike", base, lambda _: [WeightPrediction("linear"), SpikeCompensation()]),
        Arm("linear + T1", base, lambda updates: [WeightPrediction("linear"), _annealed(updates)]),
        Arm("last step", base, lambda _: [WeightPrediction("last step")]),
        *_finishing(Arm(UNCOMPENSATED, base), Arm("linear", base, lambda _: [WeightPrediction("linear")])),
        Arm("Gap-Aware", base, lambda _: [GapAware()]),
        Arm("DC-a, momentum 0", SGD, lambda _: [DelayCompensation()], faster=without),
        Arm("DC-c, momentum 0", SGD, lambda _: [DelayCompensation(adaptive=False)], faster=without),
        Arm("GEM", SGD, lambda _: [GradientEnergyMatching(momentum)]),
        Arm("no stash", base, settings={"activations": "recomputed"}),
        Arm("no stash, T2", base, lambda _: [DiscrepancyCorrection()], {"activations": "recomputed"}),
        Arm("no stash, spike", base, lambda _: [SpikeCompensation()], {"activations": "recomputed"}),
    ]
    return {arm.name: arm for arm in arms}


def adam_arms() -> dict[str, Arm]:
    """Return the arms with AdamW as the base, with the settings of nanoGPT."""
    low = partial(AdamW, betas=(0.9, 0.99), weight_decay=0.1)
    high = partial(AdamW, betas=(0.99, 0.99), weight_decay=0.1)
    nesterov = partial(nadamw, weight_decay=0.1)
    arms = [
        Arm(SYNCHRONOUS, low),
        Arm(UNCOMPENSATED, low),
        Arm("β1 0.5", partial(AdamW, betas=(0.5, 0.99), weight_decay=0.1)),
        Arm("β1 0", partial(AdamW, betas=(0.0, 0.99), weight_decay=0.1)),
        Arm("β1 0.99", high),
        Arm("η/(1+τ)", low, lambda _: [StalenessScaledRate()]),
        Arm("T1", low, lambda updates: [_annealed(updates)]),
        Arm("NAdamW 0.99", nesterov, planned=True),
        Arm("NAdamW 0.99, ψ = 0.004", nesterov),
        Arm("SC-AdamW 0.9", low, lambda _: [SpikeCompensation()]),
        Arm("SC-AdamW 0.99", high, lambda _: [SpikeCompensation()]),
        Arm("linear", low, lambda _: [WeightPrediction("linear")]),
        Arm("decaying", low, lambda _: [WeightPrediction("decaying")]),
        Arm("linear + SC 0.9", low, lambda _: [WeightPrediction("linear"), SpikeCompensation()]),
        Arm("linear + T1", low, lambda updates: [WeightPrediction("linear"), _annealed(updates)]),
        Arm("NAdamW 0.99, ψ = 0.004, η/(1+τ)", nesterov, lambda _: [StalenessScaledRate()], faster=4.0),
        Arm("NAdamW 0.99 + T1", nesterov, lambda updates: [_annealed(updates)], planned=True),
        Arm("last step", low, lambda _: [WeightPrediction("last step")]),
        *_finishing(
            Arm(UNCOMPENSATED, low),
            Arm("linear", low, lambda _: [WeightPrediction("linear")]),
            Arm("NAdamW 0.99", nesterov, planned=True),
        ),
        Arm("no stash", low, settings={"activations": "recomputed"}),
        Arm("no stash, SC 0.99", high, lambda _: [SpikeCompensation()], {"activations": "recomputed"}),
    ]
    return {arm.name: arm for arm in arms}


def _annealed(updates: int) -> RateRescheduling:
    return RateRescheduling(max(1, updates // 4))


def _finishing(*arms: Arm) -> Iterator[Arm]:
    """Yield the same arms with the last tenth of the updates synchronous."""
    for arm in arms:
        yield replace(arm, name=f"{arm.name}, last tenth synchronous", finish=0.1)


def bare() -> dict[str, Arm]:
    """Return optimizers without compensation, with their usual rates relative to SGD."""
    arms = [
        Arm("SGD", SGD),
        Arm("momentum", partial(SGD, momentum=0.9), faster=0.2),
        Arm("Adagrad", Adagrad, faster=0.2),
        Arm("Adam", partial(AdamW, weight_decay=0.0), faster=0.02),
        Arm("RMSprop", RMSprop, faster=0.02),
    ]
    return {arm.name: arm for arm in arms}


@cache
def arms(family: str) -> dict[str, Arm]:
    """Return the arms of a family: "sgd 0.9", with its momentum, "adam", or "bare"."""
    kind, _, momentum = family.partition(" ")
    return sgd_arms(float(momentum)) if kind == "sgd" else {"adam": adam_arms, "bare": bare}[kind]()


def _share(update: int, updates: int, warm_up: int) -> float:
    """Return the factor on the learning rate: a line up from 0, then half a cosine down to a tenth."""
    if update < warm_up:
        return (update + 1) / (warm_up + 1)
    progress = min(1.0, (update - warm_up) / max(1, updates - warm_up))
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))
