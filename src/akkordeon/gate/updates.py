"""How a gate's live weights take a step: clip, step, let the compensators follow, schedule."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import profiler
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Optimizer, RMSprop, Rprop
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from akkordeon.gate.accumulation import Update
from akkordeon.gate.versions import Weights
from akkordeon.staleness import Compensator

SAME_BITS = (SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, Adamax, Rprop)
"""Optimizers that yield the same bits whether parameters are stepped in one call of torch or one by one."""

SMALL = 2**20
"""Numbers up to which a gate is stepped in one call: with more, calls count for little, and it takes more memory."""

EVERY = 16
"""Gradients between two of which the norms are taken: it takes as long as a part of a small gate's step."""

WEIGHT = 0.1
"""Of the latest norm in their moving mean."""


class Norms:
    """How large gradients are, and what compensations make of them; moving means over every sixteenth.

    Attributes:
        gradient: norm over all weights of the gate, as gradients arrived.
        correction: likewise of all that compensations did: to the gradient, and to the weights before the forward and
            after the step, there divided by the learning rate.
    """

    def __init__(self) -> None:
        self.gradient = 0.0
        self.correction = 0.0
        self._count = 0
        self._ahead = 0.0
        self._sum: float | None = None

    @property
    def due(self) -> bool:
        """Whether those of the next gradient are taken."""
        return self._count % EVERY == 0

    @property
    def wanted(self) -> bool:
        """Whether corrections of the present gradient are to be told."""
        return self._sum is not None

    def begin(self, gradients: Sequence[Tensor | None]) -> None:
        """Take in a gradient as it arrived, before it is compensated."""
        self._sum = self._ahead if self.due else None
        self._count += 1
        if self.wanted:
            self.gradient = self._mean(self.gradient, norm_of(gradients))

    def look_ahead(self, correction: float) -> None:
        """Take in by how much the weights of a forward were not the live ones."""
        self._ahead = correction

    def add(self, correction: float) -> None:
        """Take in what a compensation has done."""
        assert self._sum is not None
        self._sum += correction

    def end(self) -> None:
        """The gradient has been dealt with."""
        if self._sum is not None:
            self.correction = self._mean(self.correction, self._sum)
            self._sum = None

    def _mean(self, mean: float, value: float) -> float:
        return mean + max(WEIGHT, 1 / (self._count // EVERY + 1)) * (value - mean)


def step_at_once(optimizer: Optimizer) -> None:
    """Let the optimizer of a small gate step all parameters in one call, where it was not told otherwise.

    Each call lets another thread take the interpreter, which then has to be waited for. On the CPU torch's own choice
    is one call per parameter and operation. Settings that are tensors rule it out.
    """
    numbers = sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])
    if type(optimizer) not in SAME_BITS or numbers > SMALL:
        return
    for group in optimizer.param_groups:
        settings = (value for name, value in group.items() if name != "params")
        free = group["foreach"] is None and not group["differentiable"] and not group.get("fused")
        if free and not any(isinstance(value, Tensor) for value in settings):
            group["foreach"] = True


class Steps:
    """The steps of one gate.

    Args:
        weights: to change.
        optimizer: of them.
        scheduler: of the optimizer.
        compensators: follow each step.
        max_norm: clip each gradient to this norm.
        norms: are told of corrections.
    """

    def __init__(
        self,
        weights: Weights,
        optimizer: Optimizer,
        scheduler: LRScheduler | None,
        compensators: Sequence[Compensator],
        max_norm: float | None,
        norms: Norms,
    ) -> None:
        self._weights = weights
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._followers = those(compensators, "follow")
        self._watchers = those(compensators, "notice")
        self._max_norm = max_norm
        self._norms = norms

    def take(self, update: Update, others: float = 0.0) -> None:
        """Take one step; a new version begins.

        Args:
            update: by what.
            others: square of the norm of all other gates' gradients, where that counts for clipping.
        """
        self._weights.update(update.gradients, partial(self._step, update, others))

    def _step(self, update: Update, others: float) -> None:
        if self._max_norm is not None:
            self._clip(self._max_norm, others)
        rates = self._scale(update.rate)
        _step(self._optimizer)
        if self._followers:
            self._follow(update.staleness)
        for watcher in self._watchers:
            watcher.notice(update.staleness)
        for group, rate in rates:
            group["lr"] = rate
        if self._scheduler is not None:
            self._scheduler.step()

    def _clip(self, max_norm: float, others: float) -> None:
        trainable = self._weights.trainable
        total = get_total_norm([parameter.grad for parameter in trainable if parameter.grad is not None])
        if others:
            total = (total**2 + others) ** 0.5
        clip_grads_with_norm_(trainable, max_norm, total)

    def _scale(self, factor: float) -> list[tuple[dict[str, Any], Any]]:
        """Multiply the learning rates; return what they were."""
        if factor == 1:
            return []
        rates = [(group, group["lr"]) for group in self._optimizer.param_groups]
        for group, rate in rates:
            group["lr"] = rate * factor
        return rates

    @torch.no_grad()
    def _follow(self, staleness: float) -> None:
        trainable = self._weights.trainable
        before = [weight.clone() for weight in trainable] if self._norms.wanted and self.rate else None
        gradients = [parameter.grad for parameter in trainable]
        for follower in self._followers:
            follower.follow(gradients, staleness)
        if before is not None:
            self._norms.add(norm_of(torch._foreach_sub(list(trainable), before)) / self.rate)

    @property
    def rate(self) -> float:
        """The learning rate, of the first group."""
        return float(self._optimizer.param_groups[0]["lr"])


def those(compensators: Sequence[Compensator], hook: str) -> list[Compensator]:
    """Return the compensators that do something at this hook."""
    return [each for each in compensators if getattr(type(each), hook) is not getattr(Compensator, hook)]


def norm_of(tensors: Sequence[Tensor | None]) -> float:
    """Return the norm over all of them."""
    return float(get_total_norm([_values(tensor.detach()) for tensor in tensors if tensor is not None]))


def _values(tensor: Tensor) -> Tensor:
    return tensor.coalesce().values() if tensor.is_sparse else tensor


def _step(optimizer: Optimizer) -> None:
    """Let an optimizer take a step.

    torch wraps `step` to label it for the profiler and to call hooks, which takes as long as the step of a small gate.
    Where nobody profiles and there are no hooks, what it wraps does the same.
    """
    step = type(optimizer).step
    listeners = (
        vars(optimizer).get("step"),  # a scheduler puts one there, to see that steps are taken
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        _global_optimizer_pre_hooks,
        _global_optimizer_post_hooks,
        profiler._is_profiler_enabled,
    )
    if getattr(step, "hooked", False) and not any(listeners):
        step.__wrapped__(optimizer)  # type: ignore[attr-defined]
    else:
        optimizer.step()
