"""PipeMare: training in a pipeline without stashed weights.

Yang et al., "PipeMare: Asynchronous Pipeline Parallel DNN Training", MLSys 2021, arXiv 1910.05124.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator, publish, require
from akkordeon.tensors import MovingMean


@publish("rescheduling", "updates")
@dataclass(frozen=True)
class RateRescheduling(Compensation):
    """T1: a learning rate that starts lower, the lower the staler gradients are.

    Yang et al., MLSys 2021, arXiv 1910.05124, section 3.1. With τ the gate's mean staleness, at least 1, and s the
    number of its updates so far::

        η / τ^p,    p = 1 - min(s / K, 1)

    After K updates the rate is η; if that is too high for the delay, training diverges then.

    Args:
        updates: K; as published, a quarter of the updates at the first, constant rate, or five times the warm-up.

    Raises:
        ValueError: a value is out of range.
    """

    updates: int = 1000

    once = True

    def __post_init__(self) -> None:
        require(self.updates >= 1, f"updates must be at least 1, not {self.updates}")

    @override
    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        return _Rescheduling(self.updates)


class _Rescheduling(Compensator):
    def __init__(self, updates: int) -> None:
        self._updates = updates
        self._mean = MovingMean(0.02)

    def weigh(self, arrival: Arrival) -> float:
        self._mean.add(arrival.staleness)
        power = 1 - min(arrival.version_now / self._updates, 1)
        return float(max(self._mean.value, 1.0) ** -power)

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self._mean.value, "count": self._mean.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._mean.value, self._mean.count = state["mean"], state["count"]


@publish("discrepancy", "decay")
@dataclass(frozen=True)
class DiscrepancyCorrection(Compensation):
    """T2: an estimate of the forward's weights for the backward, where they are not kept.

    Yang et al., MLSys 2021, arXiv 1910.05124, section 3.2::

        after each update:   δ ← γ δ + (1 - γ) (w_{t+1} - w_t),    γ = D^{1/τ}, τ the mean staleness
        backward:            w_t - τ δ, with the batch's own τ, instead of w_t

    Only for gates with `activations="recomputed"`; a gate that stashes has the forward's weights. Keeps δ and the
    weights before the last update. At staleness 0 it changes nothing.

    Args:
        decay: D, in (0, 1); e^-2 in theory, 0.5 and 0.1 as published for ResNets and Transformers.

    Raises:
        ValueError: a value is out of range.
    """

    decay: float = exp(-2)

    needs_recomputed = once = True

    def __post_init__(self) -> None:
        require(0 < self.decay < 1, f"decay must be more than 0 and less than 1, not {self.decay}")

    @override
    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        return _Discrepancy(parameters, self.decay)


class _Discrepancy(Compensator):
    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self._mean = MovingMean(0.02)
        self._before = [parameter.detach().clone() for parameter in parameters]
        self._drift = [torch.zeros_like(parameter, requires_grad=False) for parameter in parameters]

    @torch.no_grad()
    def notice(self, staleness: float) -> None:
        self._mean.add(staleness)
        gamma = self._decay ** (1 / self._mean.value) if self._mean.value else 0.0
        moved = torch._foreach_sub(self._parameters, self._before)
        torch._foreach_lerp_(self._drift, moved, 1 - gamma)
        torch._foreach_copy_(self._before, self._parameters)

    @torch.no_grad()
    def recall(self, staleness: int) -> list[Tensor] | None:
        if staleness == 0:
            return None
        return list(torch._foreach_sub(self._parameters, self._drift, alpha=staleness))

    def state_dict(self) -> dict[str, Any]:
        return {"before": self._before, "drift": self._drift, "mean": self._mean.value, "count": self._mean.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._mean.value, self._mean.count = state["mean"], state["count"]
        torch._foreach_copy_([*self._before, *self._drift], [*state["before"], *state["drift"]])
