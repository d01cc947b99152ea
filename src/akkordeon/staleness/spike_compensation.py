"""Spike compensation: a stale gradient moves the weights at once by what it would have added in the steps it missed.

Kosson et al., "Pipelined Backpropagation at Scale: Training Large Models without Batches", MLSys 2021,
arXiv 2003.11666.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer
from typing_extensions import override

from akkordeon.staleness.compensation import Compensation, Compensator, Gradients, publish
from akkordeon.staleness.optimizers import Groups, adam_roots, pick, refuse_adam, refuse_sgd


@publish("spike")
@dataclass(frozen=True)
class SpikeCompensation(Compensation):
    """Momentum as if the gradient had not been late; needs no memory, and no weights of the forward.

    Kosson et al., MLSys 2021, arXiv 2003.11666, section 3.2. With g a gradient of staleness τ, and v the buffer of SGD
    with momentum m::

        v ← m v + m^τ g,    w ← w - η (v + g (1 - m^τ) / (1 - m))

    For a constant τ that is w ← w - η (m^τ v + g (1 - m^τ) / (1 - m)) with the usual buffer, as published; in this form
    each gradient moves the weights by η g / (1 - m) in all, whatever the staleness of others. Staleness 0 is SGD
    itself, and 1 is Nesterov's momentum. The term of weight decay is never late, and is unchanged.

    Beside Adam or AdamW, the same idea for a mean instead of a sum (NAdam is the case τ = 1; the general form is not
    published, as far as is known)::

        w ← w - η (β1^τ M̂ + (1 - β1^τ) g) / (sqrt(Ŝ) + ε)

    At staleness 0 it changes nothing.

    Refuses SGD without momentum or with Nesterov's, and all other optimizers.
    """

    dense = once = True

    @override
    def refusal(self, optimizer: Optimizer) -> str | None:
        return refuse_adam(optimizer) if isinstance(optimizer, Adam) else refuse_sgd(optimizer)

    @override
    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        groups = Groups(parameters, optimizer)
        return _SpikeInMean(groups) if isinstance(optimizer, Adam) else _SpikeInSum(groups)


class _SpikeInSum(Compensator):
    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    @torch.no_grad()
    def follow(self, gradients: Gradients, staleness: float) -> None:
        if staleness == 0:
            return
        for group, members in self._groups.having(gradients, "momentum_buffer"):
            momentum, g = group["momentum"], pick(gradients, members)
            late = 1 - momentum**staleness
            # SGD has added all of g to the buffer, and has moved the weights by it.
            torch._foreach_sub_(self._groups.states("momentum_buffer", members), g, alpha=late)
            lump = late / (1 - momentum) - late
            torch._foreach_sub_(pick(self._groups.parameters, members), g, alpha=float(group["lr"]) * lump)


class _SpikeInMean(_SpikeInSum):
    @torch.no_grad()
    def follow(self, gradients: Gradients, staleness: float) -> None:
        if staleness == 0:
            return
        for group, members in self._groups.having(gradients, "exp_avg"):
            roots, unbias = adam_roots(self._groups, group, members)
            beta, weights = group["betas"][0], pick(self._groups.parameters, members)
            late = float(group["lr"]) * (1 - beta**staleness)
            steps = [float(step) for step in self._groups.states("step", members)]
            back = [late * each / (1 - beta**step) for each, step in zip(unbias, steps, strict=True)]
            torch._foreach_addcdiv_(weights, self._groups.states("exp_avg", members), roots, back)
            torch._foreach_addcdiv_(weights, pick(gradients, members), roots, [-late * each for each in unbias])
