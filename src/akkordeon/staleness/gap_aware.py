"""Gap-Aware: the further the weights have gone since the forward, measured in usual steps, the less a gradient counts.

Barkai, Hakimi, Schuster, "Gap-Aware Mitigation of Gradient Staleness", ICLR 2020, arXiv 1909.10802.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator, Gradients
from akkordeon.staleness.optimizers import Groups, dense, pick, put_back, refuse_sgd

__all__ = ["GapAware"]


@dataclass(frozen=True)
class GapAware(Compensation):
    """Divides each element of a gradient by how far its weight has gone since the forward, measured in steps.

    With g the gradient at the weights u of the forward, and w the live ones::

        G = |w - u|,    C = η_max (sqrt(c / (1 - Γ^t)) + ε),    g ← g / (1 + G / C)              (section 4)
        after each step, of momentum buffer v:    c ← Γ c + (1 - Γ) v ⊙ v

    What weight decay adds is divided, too. η_max is the highest learning rate so far. At staleness 0, and before the
    first update, the gradient is returned as it is. It makes training slow and safe, as a lower learning rate does.

    Refuses optimizers other than SGD with momentum. Its own copy of each gradient is changed, so it composes with
    `accumulate`.

    Args:
        decay: Γ, in [0, 1).
        epsilon: ε.

    Raises:
        ValueError: a value is out of range.
    """

    decay: float = 0.999
    epsilon: float = 1e-8

    needs_forward_weights: ClassVar[bool] = True

    once: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be at least 0 and less than 1, and is {self.decay}")
        if self.epsilon <= 0:
            raise ValueError(f"epsilon must be positive, and is {self.epsilon}")

    def refusal(self, optimizer: Optimizer) -> str | None:
        """See `Compensation.refusal`."""
        return refuse_sgd(optimizer)

    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        """See `Compensation.start`."""
        return _GapAware(Groups(parameters, optimizer), self)


class _GapAware(Compensator):
    def __init__(self, groups: Groups, settings: GapAware) -> None:
        self._groups = groups
        self._settings = settings
        self._squares = [torch.zeros_like(parameter, requires_grad=False) for parameter in groups.parameters]
        self._count = 0
        self._highest = 0.0

    @torch.no_grad()
    def correct(self, gradients: Gradients, arrival: Arrival) -> list[Tensor | None]:
        corrected = list(gradients)
        if arrival.staleness == 0:
            return corrected
        for group, members in self._groups.having(gradients, "momentum_buffer"):
            divisors = self._divisors(members, arrival)
            g, decay = dense(gradients, members), group["weight_decay"]
            if decay:  # SGD will add decay * w to what it is given
                now = pick(arrival.now, members)
                g = list(torch._foreach_add(g, now, alpha=decay))
                torch._foreach_div_(g, divisors)
                torch._foreach_sub_(g, now, alpha=decay)
            else:
                g = list(torch._foreach_div(g, divisors))
            corrected = put_back(corrected, members, g)
        return corrected

    def _divisors(self, members: Sequence[int], arrival: Arrival) -> list[Tensor]:
        """Return 1 + G / C."""
        unbias = 1 - self._settings.decay**self._count
        steps = list(torch._foreach_div([self._squares[index] for index in members], unbias))
        torch._foreach_sqrt_(steps)
        torch._foreach_add_(steps, self._settings.epsilon)
        torch._foreach_mul_(steps, self._highest)
        gaps = list(torch._foreach_sub(pick(arrival.now, members), pick(arrival.then, members)))
        torch._foreach_abs_(gaps)
        torch._foreach_div_(gaps, steps)
        torch._foreach_add_(gaps, 1.0)
        return gaps

    @torch.no_grad()
    def follow(self, gradients: Gradients, staleness: float) -> list[Tensor | None] | None:  # noqa: ARG002
        self._count += 1
        for group, members in self._groups.having(state="momentum_buffer"):
            self._highest = max(self._highest, float(group["lr"]))
            velocity = self._groups.states("momentum_buffer", members)
            squares = [self._squares[index] for index in members]
            torch._foreach_mul_(squares, self._settings.decay)
            torch._foreach_addcmul_(squares, velocity, velocity, 1 - self._settings.decay)
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"squares": self._squares, "count": self._count, "highest": self._highest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for square, saved in zip(self._squares, state["squares"], strict=True):
            square.copy_(saved)
        self._count, self._highest = state["count"], state["highest"]
