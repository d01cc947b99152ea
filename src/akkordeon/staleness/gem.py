"""Gradient energy matching: steps of the length that one worker with momentum would take without delay.

Hermans and Louppe, "Gradient Energy Matching for Distributed Asynchronous Gradient Descent", 2018, arXiv 1805.08469.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer
from typing_extensions import override

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator, Gradients, publish, require
from akkordeon.staleness.optimizers import Groups, pick, put_back, refuse_complex


@publish("energy", "momentum")
@dataclass(frozen=True)
class GradientEnergyMatching(Compensation):
    """Scales each element of a step to the rest of a proxy's step, which has momentum and no delay.

    Hermans and Louppe 2018, arXiv 1805.08469, section 4. With u the weights of the batch's forward, and w the live
    weights::

        Δ = -η g,    M ← m M + Δ,    π = (|M| - |w - u|) / (|Δ| + ε),    w ← w + π ⊙ Δ

    π is clamped to [0, `most`], as in the authors' code: where the weights have moved further than M since the forward,
    it would be negative and lead uphill, ever further, until training diverges.

    The gradient becomes π ⊙ g, and plain SGD does the rest. At staleness 0 this is not plain SGD either: steps have the
    direction of g, and the length of M or at most `most` steps.

    Refuses all optimizers except SGD without momentum; the momentum is that of the proxy.

    Args:
        momentum: m of the proxy.
        epsilon: ε.
        most: upper bound of π; inf for none.

    Raises:
        ValueError: a value is out of range.
    """

    momentum: float = 0.9
    epsilon: float = 1e-16
    most: float = 5.0

    dense = needs_forward_weights = once = True

    def __post_init__(self) -> None:
        require(0 <= self.momentum < 1, f"momentum must be at least 0 and less than 1, not {self.momentum}")
        require(self.epsilon > 0, f"epsilon must be positive, not {self.epsilon}")
        require(self.most > 0, f"most must be positive, not {self.most}")

    @override
    def refusal(self, optimizer: Optimizer) -> str | None:
        if not isinstance(optimizer, SGD):
            return f"it needs SGD, not {type(optimizer).__name__}"
        if any(group["momentum"] or group["maximize"] for group in optimizer.param_groups):
            return "its proxy has the momentum, and minimizes; set GradientEnergyMatching(momentum=...), use plain SGD"
        return refuse_complex(optimizer)

    @override
    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        return _Matching(Groups(parameters, optimizer), self)


class _Matching(Compensator):
    def __init__(self, groups: Groups, settings: GradientEnergyMatching) -> None:
        self._groups = groups
        self._settings = settings
        self._proxy = [torch.zeros_like(parameter, requires_grad=False) for parameter in groups.parameters]

    @torch.no_grad()
    def correct(self, gradients: Gradients, arrival: Arrival) -> list[Tensor | None]:
        corrected = list(gradients)
        for group, members in self._groups.having(gradients):
            lr, g = float(group["lr"]), pick(gradients, members)
            proxy = [self._proxy[index] for index in members]
            torch._foreach_mul_(proxy, self._settings.momentum)
            torch._foreach_sub_(proxy, g, alpha=lr)
            shares = list(torch._foreach_abs(proxy))
            gone = torch._foreach_sub(pick(arrival.now, members), pick(arrival.then, members))
            torch._foreach_abs_(gone)
            torch._foreach_sub_(shares, gone)
            lengths = list(torch._foreach_abs(g))
            torch._foreach_mul_(lengths, lr)
            torch._foreach_add_(lengths, self._settings.epsilon)
            torch._foreach_div_(shares, lengths)
            torch._foreach_clamp_min_(shares, 0.0)
            torch._foreach_clamp_max_(shares, self._settings.most)
            torch._foreach_mul_(shares, g)
            corrected = put_back(corrected, members, shares)
        return corrected

    def state_dict(self) -> dict[str, Any]:
        return {"proxy": self._proxy}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        torch._foreach_copy_(self._proxy, state["proxy"])
