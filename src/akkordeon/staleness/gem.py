"""Gradient energy matching: steps are as long as those of one worker with momentum would be, whatever the delay.

Hermans and Louppe, "Gradient Energy Matching for Distributed Asynchronous Gradient Descent", 2018, arXiv 1805.08469.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator, Gradients
from akkordeon.staleness.optimizers import Groups, pick, put_back


@dataclass(frozen=True)
class GradientEnergyMatching(Compensation):
    """Scales each element of a step to what is left of a proxy's step, which has momentum and no delay.

    With u the weights of the batch's forward, and w the live ones (section 4)::

        Δ = -η g,    M ← m M + Δ,    π = (|M| - |w - u|) / (|Δ| + ε),    w ← w + π ⊙ Δ

    π is kept between 0 and `most`, as in the authors' code: where the weights have gone further than M since the
    forward, it would be negative, and lead uphill, the further the more, until training diverges.

    Here the gradient becomes π ⊙ g, and plain SGD does the rest. So it is not plain SGD at staleness 0 either: steps
    have the direction of g and the length of M, or of `most` steps.

    Refuses all optimizers but SGD without momentum, since its proxy has it.

    Args:
        momentum: m of the proxy.
        epsilon: ε.
        most: of π; inf for no upper bound.

    Raises:
        ValueError: a value is out of range.
    """

    momentum: float = 0.9
    epsilon: float = 1e-16
    most: float = 5.0

    dense: ClassVar[bool] = True

    needs_forward_weights: ClassVar[bool] = True

    once: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and less than 1, and is {self.momentum}")
        if self.epsilon <= 0:
            raise ValueError(f"epsilon must be positive, and is {self.epsilon}")
        if not self.most > 0:
            raise ValueError(f"most must be positive, and is {self.most}")

    def refusal(self, optimizer: Optimizer) -> str | None:
        """See `Compensation.refusal`."""
        if not isinstance(optimizer, SGD):
            return f"it needs SGD, not {type(optimizer).__name__}"
        if any(group["momentum"] or group["maximize"] for group in optimizer.param_groups):
            return (
                "its proxy has momentum, so it needs SGD without; say how much by GradientEnergyMatching(momentum=...)"
            )
        return None

    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        """See `Compensation.start`."""
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
        for proxy, saved in zip(self._proxy, state["proxy"], strict=True):
            proxy.copy_(saved)
