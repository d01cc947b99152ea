"""DC-ASGD: a first-order correction towards the gradient at the live weights.

Zheng et al., "Asynchronous Stochastic Gradient Descent with Delay Compensation", ICML 2017, arXiv 1609.08326.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator

__all__ = ["DelayCompensation"]


@dataclass(frozen=True)
class DelayCompensation(Compensation):
    """Delay compensation, adaptive (DC-ASGD-a) or constant (DC-ASGD-c).

    With g the gradient at the weights u of the batch's own forward, and w the live weights, the optimizer gets

        g + λ ⊙ g ⊙ g ⊙ (w - u)                              (equation 5, with the Hessian's diagonal as λ g ⊙ g)
        adaptive:  s ← ρ s + (1-ρ) g ⊙ g,   λ = λ0 / sqrt(s + ε)          (equation 7; ε inside the root)
        constant:  λ = λ0

    At staleness 0 the gradient is returned as it is. Works with any base optimizer; published for plain SGD.

    Alone, in a plain PyTorch loop:

        compensator = DelayCompensation().start(parameters)
        then = [p.detach().clone() for p in parameters]            # at the forward
        ...                                                        # others update the parameters
        arrival = Arrival(staleness=2, now=parameters, then=then)
        for p, g in zip(parameters, compensator.correct([p.grad for p in parameters], arrival)):
            p.grad = g
        optimizer.step()

    Args:
        strength: λ0; None is 2 for adaptive, 0.04 for constant, as published.
        adaptive: which of the two forms.
        decay: ρ, in [0, 1).
        epsilon: ε.

    Raises:
        ValueError: a value is out of range.
    """

    strength: float | None = None
    adaptive: bool = True
    decay: float = 0.95
    epsilon: float = 1e-7

    needs_forward_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.strength is not None and self.strength < 0:
            raise ValueError(f"strength must not be negative, and is {self.strength}")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be at least 0 and less than 1, and is {self.decay}")
        if self.epsilon <= 0:
            raise ValueError(f"epsilon must be positive, and is {self.epsilon}")

    def start(self, parameters: Sequence[Tensor]) -> Compensator:
        """See `Compensation.start`."""
        default = 2.0 if self.adaptive else 0.04
        strength = default if self.strength is None else self.strength
        if self.adaptive:
            return _Adaptive(parameters, strength, self.decay, self.epsilon)
        return _Constant(strength)


class _Constant(Compensator):
    def __init__(self, strength: float) -> None:
        self._strength = strength

    @torch.no_grad()
    def correct(self, gradients: Sequence[Tensor | None], arrival: Arrival) -> list[Tensor | None]:
        if arrival.staleness == 0:
            return list(gradients)
        return [
            None if g is None else g + self._strength * g * g * (now - then)
            for g, now, then in zip(gradients, arrival.now, arrival.then, strict=True)
        ]


class _Adaptive(Compensator):
    def __init__(self, parameters: Sequence[Tensor], strength: float, decay: float, epsilon: float) -> None:
        self._strength = strength
        self._decay = decay
        self._epsilon = epsilon
        self._squares = [torch.zeros_like(parameter, requires_grad=False) for parameter in parameters]

    @torch.no_grad()
    def correct(self, gradients: Sequence[Tensor | None], arrival: Arrival) -> list[Tensor | None]:
        corrected: list[Tensor | None] = []
        for g, square, now, then in zip(gradients, self._squares, arrival.now, arrival.then, strict=True):
            if g is not None:
                square.mul_(self._decay).addcmul_(g, g, value=1 - self._decay)
            if g is None or arrival.staleness == 0:
                corrected.append(g)
            else:
                rate = self._strength / torch.sqrt(square + self._epsilon)
                corrected.append(g + rate * g * g * (now - then))
        return corrected
