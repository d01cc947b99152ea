"""DC-ASGD: a first-order correction towards the gradient at the live weights.

Zheng et al., "Asynchronous Stochastic Gradient Descent with Delay Compensation", ICML 2017, arXiv 1609.08326.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator, Gradients, publish, require
from akkordeon.staleness.optimizers import pick, put_back, refuse_complex


@publish("delay", "strength")
@publish("delay-constant", "strength", adaptive=False)
@dataclass(frozen=True)
class DelayCompensation(Compensation):
    """Delay compensation, adaptive (DC-ASGD-a) or constant (DC-ASGD-c).

    Zheng et al., ICML 2017, arXiv 1609.08326. With g the gradient at the weights u of the batch's own forward, and w
    the live weights, the optimizer gets::

        g + λ ⊙ g ⊙ g ⊙ (w - u)                              (equation 5, with the Hessian's diagonal as λ g ⊙ g)
        adaptive:  s ← ρ s + (1-ρ) g ⊙ g,   λ = λ0 / sqrt(s + ε)          (equation 7; ε inside the root)
        constant:  λ = λ0

    At staleness 0 the gradient is unchanged. Works with any base optimizer; published for plain SGD. Beside one that
    maximizes, the sign of the correction is the other one: g is that of the loss, and -g is what the weights follow.

    Refuses complex weights, for which the formula has no meaning.

    Without gates, in a plain PyTorch loop::

        compensator = DelayCompensation().start(parameters, optimizer)
        then = [p.detach().clone() for p in parameters]            # at the forward
        ...                                                        # others update the parameters
        arrival = Arrival(staleness=2, now=parameters, then=then)
        for p, g in zip(parameters, compensator.correct([p.grad for p in parameters], arrival)):
            p.grad = g
        optimizer.step()

    Args:
        strength: λ0; None is 2 for adaptive, 0.04 for constant, as published.
        adaptive: whether λ adapts to the gradients.
        decay: ρ, in [0, 1).
        epsilon: ε.

    Raises:
        ValueError: a value is out of range.
    """

    strength: float | None = None
    adaptive: bool = True
    decay: float = 0.95
    epsilon: float = 1e-7

    dense = needs_forward_weights = once = True

    def __post_init__(self) -> None:
        require(self.strength is None or self.strength >= 0, f"strength must be at least 0, not {self.strength}")
        require(0 <= self.decay < 1, f"decay must be at least 0 and less than 1, not {self.decay}")
        require(self.epsilon > 0, f"epsilon must be positive, not {self.epsilon}")

    @property
    @override
    def kind(self) -> str:
        return f"DelayCompensation, {'adaptive' if self.adaptive else 'constant'}"

    @override
    def refusal(self, optimizer: Optimizer) -> str | None:
        return refuse_complex(optimizer)

    @override
    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        return _Correction(parameters, optimizer, self)


class _Correction(Compensator):
    def __init__(self, parameters: Sequence[Tensor], optimizer: Optimizer, settings: DelayCompensation) -> None:
        default = 2.0 if settings.adaptive else 0.04
        strength = default if settings.strength is None else settings.strength
        uphill = {id(p) for group in optimizer.param_groups if group.get("maximize") for p in group["params"]}
        self._strengths = [-strength if id(parameter) in uphill else strength for parameter in parameters]
        self._settings = settings
        kept = parameters if settings.adaptive else ()
        self._squares = [torch.zeros_like(parameter, requires_grad=False) for parameter in kept]

    @torch.no_grad()
    def correct(self, gradients: Gradients, arrival: Arrival) -> list[Tensor | None]:
        present = [index for index, gradient in enumerate(gradients) if gradient is not None]
        if not present:
            return list(gradients)
        g = pick(gradients, present)
        squares = torch._foreach_mul(g, g)
        if self._squares:  # the mean takes in fresh gradients, too
            torch._foreach_lerp_(pick(self._squares, present), squares, 1 - self._settings.decay)
        if arrival.staleness == 0:
            return list(gradients)
        moved = torch._foreach_sub(pick(arrival.now, present), pick(arrival.then, present))
        strengths = [self._strengths[index] for index in present]
        if not self._squares:
            return put_back(gradients, present, torch._foreach_addcmul(g, squares, moved, strengths))
        torch._foreach_mul_(squares, moved)
        roots = torch._foreach_add(pick(self._squares, present), self._settings.epsilon)
        torch._foreach_sqrt_(roots)
        return put_back(gradients, present, torch._foreach_addcdiv(g, squares, roots, strengths))

    def state_dict(self) -> dict[str, Any]:
        return {"squares": self._squares} if self._settings.adaptive else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for square, saved in zip(self._squares, state.get("squares", ()), strict=True):
            square.copy_(saved)
