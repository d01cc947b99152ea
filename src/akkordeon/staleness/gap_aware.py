"""Gap-Aware: a gradient counts less the further the weights have moved since its forward, measured in usual steps.

Barkai, Hakimi, Schuster, "Gap-Aware Mitigation of Gradient Staleness", ICLR 2020, arXiv 1909.10802.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator, Gradients, publish, require
from akkordeon.staleness.optimizers import Groups, pick, put_back, refuse_complex, refuse_sgd


@publish("gap-aware", "decay")
@dataclass(frozen=True)
class GapAware(Compensation):
    """Divides each element of a gradient by the distance of its weight from the forward's, measured in usual steps.

    Barkai et al., ICLR 2020, arXiv 1909.10802. With g the gradient at the weights u of the forward, and w the live
    weights::

        G = |w - u|,    C = η_max (sqrt(c / (1 - Γ^t)) + ε),    g ← g / (1 + G / C)              (section 4)
        after each step, of momentum buffer v:    c ← Γ c + (1 - Γ) v ⊙ v

    The term of weight decay is divided, too. η_max is the highest learning rate of the weight's steps so far, and t
    their number. At staleness 0, and before the first step that moves a weight, the gradient is unchanged. Training
    becomes slower and safer, as with a lower learning rate.

    Refuses optimizers other than SGD with momentum. Composes with `accumulate`.

    Args:
        decay: Γ, in [0, 1).
        epsilon: ε.

    Raises:
        ValueError: a value is out of range.
    """

    decay: float = 0.999
    epsilon: float = 1e-8

    dense = needs_forward_weights = once = True

    def __post_init__(self) -> None:
        require(0 <= self.decay < 1, f"decay must be at least 0 and less than 1, not {self.decay}")
        require(self.epsilon > 0, f"epsilon must be positive, not {self.epsilon}")

    @override
    def refusal(self, optimizer: Optimizer) -> str | None:
        return refuse_sgd(optimizer) or refuse_complex(optimizer)

    @override
    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        return _GapAware(Groups(parameters, optimizer), self)


class _GapAware(Compensator):
    def __init__(self, groups: Groups, settings: GapAware) -> None:
        self._groups = groups
        self._settings = settings
        # At least float32: in bfloat16, a mean of which a thousandth is replaced never changes.
        self._squares = [
            torch.zeros_like(each, dtype=torch.promote_types(each.dtype, torch.float32), requires_grad=False)
            for each in groups.parameters
        ]
        self._counts = [0] * len(self._squares)
        self._highest = [0.0] * len(self._squares)

    @torch.no_grad()
    def correct(self, gradients: Gradients, arrival: Arrival) -> list[Tensor | None]:
        corrected = list(gradients)
        if arrival.staleness == 0:
            return corrected
        for group, there in self._groups.having(gradients, "momentum_buffer"):
            members = [index for index in there if self._highest[index]]
            if not members:
                continue
            divisors = self._divisors(members, arrival)
            g, decay = pick(gradients, members), group["weight_decay"]
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
        """Return 1 + G / C, of C = η_max / b (sqrt(c) + ε b), with b = sqrt(1 - Γ^t)."""
        unbias = [(1 - self._settings.decay ** self._counts[index]) ** 0.5 for index in members]
        steps = list(torch._foreach_sqrt([self._squares[index] for index in members]))
        torch._foreach_add_(steps, [self._settings.epsilon * each for each in unbias])
        gaps = list(torch._foreach_sub(pick(arrival.now, members), pick(arrival.then, members)))
        torch._foreach_abs_(gaps)
        ones = [step.new_ones(()) for step in steps]
        shares = [each / self._highest[index] for index, each in zip(members, unbias, strict=True)]
        divisors = torch._foreach_addcdiv(ones, gaps, steps, shares)
        return [divisor.to(gap.dtype) for divisor, gap in zip(divisors, gaps, strict=True)]

    @torch.no_grad()
    def notice(self, staleness: float) -> None:  # noqa: ARG002
        for group, members in self._groups.having(state="momentum_buffer"):
            squares = [self._squares[index] for index in members]
            kept = self._groups.states("momentum_buffer", members)
            velocity = [v.to(square.dtype) for v, square in zip(kept, squares, strict=True)]
            torch._foreach_mul_(squares, self._settings.decay)
            torch._foreach_addcmul_(squares, velocity, velocity, 1 - self._settings.decay)
            for index in members:
                self._counts[index] += 1
                self._highest[index] = max(self._highest[index], float(group["lr"]))

    def state_dict(self) -> dict[str, Any]:
        return {"squares": self._squares, "counts": self._counts, "highest": self._highest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        torch._foreach_copy_(self._squares, state["squares"])
        self._counts, self._highest = list(state["counts"]), list(state["highest"])
