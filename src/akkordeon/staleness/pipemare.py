"""What PipeMare does so that a pipeline can do without stashing weights.

Yang et al., "PipeMare: Asynchronous Pipeline Parallel DNN Training", MLSys 2021, arXiv 1910.05124.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator

WEIGHT = 0.02
"""Of the latest staleness in their moving mean."""


class _Mean:
    """A moving mean of staleness; the first ones count more."""

    def __init__(self) -> None:
        self.value = 0.0
        self.count = 0

    def add(self, staleness: float) -> None:
        self.count += 1
        self.value += (staleness - self.value) * max(WEIGHT, 1 / self.count)


@dataclass(frozen=True)
class RateRescheduling(Compensation):
    """T1: a learning rate that is lower in the beginning, the lower the later gradients come.

    With τ the gate's mean staleness, but at least 1, and s its updates so far (section 3.1)::

        η / τ^p,    p = 1 - min(s / K, 1)

    After K updates the rate is η: if that is too high for the delay, training diverges then.

    Args:
        updates: K; published: a quarter of those at the first, constant learning rate, or five times the warm-up.

    Raises:
        ValueError: a value is out of range.
    """

    updates: int = 1000

    once: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.updates < 1:
            raise ValueError(f"updates must be at least 1, and is {self.updates}")

    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:  # noqa: ARG002
        """See `Compensation.start`."""
        return _Rescheduling(self.updates)


class _Rescheduling(Compensator):
    def __init__(self, updates: int) -> None:
        self._updates = updates
        self._mean = _Mean()

    def weigh(self, arrival: Arrival) -> float:
        self._mean.add(arrival.staleness)
        power = 1 - min(arrival.version_now / self._updates, 1)
        return float(max(self._mean.value, 1.0) ** -power)

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self._mean.value, "count": self._mean.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._mean.value, self._mean.count = state["mean"], state["count"]


@dataclass(frozen=True)
class DiscrepancyCorrection(Compensation):
    """T2: an estimate of the forward's weights for the backward, where they are not kept.

    Section 3.2::

        after each update:   δ ← γ δ + (1 - γ) (w_{t+1} - w_t),    γ = D^{1/τ}, τ the mean staleness
        backward:            w_t - τ δ, of the batch's own τ, instead of w_t

    For gates with `activations="recomputed"` alone: a gate that stashes has the forward's weights. It keeps δ and the
    weights before the last update. At staleness 0 nothing is changed.

    Args:
        decay: D, in (0, 1); e^-2 in theory, 0.5 and 0.1 as published for ResNets and Transformers.

    Raises:
        ValueError: a value is out of range.
    """

    decay: float = exp(-2)

    needs_recomputed: ClassVar[bool] = True

    once: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must be more than 0 and less than 1, and is {self.decay}")

    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:  # noqa: ARG002
        """See `Compensation.start`."""
        return _Discrepancy(parameters, self.decay)


class _Discrepancy(Compensator):
    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self._mean = _Mean()
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
        kept = {"before": self._before, "drift": self._drift}
        return {**kept, "mean": self._mean.value, "count": self._mean.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._mean.value, self._mean.count = state["mean"], state["count"]
        for kept, saved in ((self._before, state["before"]), (self._drift, state["drift"])):
            for tensor, value in zip(kept, saved, strict=True):
                tensor.copy_(value)
