"""Updates a gate's live weights: accumulate, clip, step, let the compensators follow, schedule."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Optimizer, RMSprop, Rprop
from torch.optim.lr_scheduler import LRScheduler

from akkordeon.gate.versions import Weights
from akkordeon.staleness import Compensator
from akkordeon.tensors import MovingMean, differences, numbers_of, optimizer_step

SAME_BITS = (SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, Adamax, Rprop)
"""Optimizers that yield the same bits whether parameters are stepped in one call of torch or one by one."""

EXACT = {torch.float32, torch.float64}
"""Types of which that holds: in shorter ones, the two ways round at different places."""

SMALL_GATE = 2**20
"""Numbers up to which a gate is stepped in one call: with more, calls count for little, and it takes more memory."""

NORMS_EVERY = 16
"""Gradients from one whose norm is taken to the next: a norm takes a good part of the time of a small gate's step."""

WEIGHT_OF_NORM = 0.1
"""Of the latest norm in their moving mean."""


class Update(NamedTuple):
    """What changes the weights once.

    Args:
        gradients: one per trainable parameter, of its shape; None where there is none.
        staleness: of the batch, or the mean over the batches.
        rate: factor of the learning rate; likewise.
    """

    gradients: list[Tensor | None]
    staleness: float
    rate: float


class Accumulation:
    """Sums up gradients; every `amount` batches it yields their mean.

    As in a plain loop that divides each loss by `amount` and adds up `.grad`; bit for bit so where `amount` is a power
    of two.

    Args:
        amount: batches per update.

    Attributes:
        count: batches that were taken in since the last mean.
    """

    def __init__(self, amount: int) -> None:
        self._amount = amount
        self._begin()

    def _begin(self) -> None:
        self._sum: list[Tensor | None] = []
        self.count = 0
        self._staleness = self._rate = 0.0

    @torch.no_grad()
    def add(self, update: Update) -> Update | None:
        """Take in what one batch alone would do; return the mean if this was the last batch of `amount`, else None.

        Args:
            update: its gradients belong to the sum from now on.
        """
        gradients = update.gradients
        self._sum = [_plus(a, b) for a, b in zip(self._sum, gradients, strict=True)] if self._sum else gradients
        self.count += 1
        self._staleness += update.staleness
        self._rate += update.rate
        return None if self.count < self._amount else self.mean()

    @torch.no_grad()
    def mean(self) -> Update:
        """Return the mean of what was taken in, of which there must be some, and begin anew."""
        count = self.count
        mean = [None if total is None else total.div_(count) for total in self._sum]
        result = Update(mean, self._staleness / count, self._rate / count)
        self._begin()
        return result

    def expected(self, in_flight: int) -> int:
        """Return how many updates `in_flight` more batches will make."""
        return (self.count + in_flight) // self._amount

    def state_dict(self) -> dict[str, Any]:
        """Return what was taken in since the last mean, with copies of the sums."""
        total = [None if g is None else g.clone() for g in self._sum]
        return {"count": self.count, "sum": total, "staleness": self._staleness, "rate": self._rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned; saves of earlier versions have no staleness and rate."""
        self.count, total = state["count"], state["sum"]
        self._staleness, self._rate = state.get("staleness", 0.0), state.get("rate", float(self.count))
        self._sum = [None if each is None else each.clone() for each in total]


def _plus(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if total is None or gradient is None:
        return gradient if total is None else total
    if total.is_sparse and not gradient.is_sparse:  # a sparse tensor cannot take in a dense one in place
        return gradient + total
    return total.add_(gradient)


class Norms:
    """How large gradients are, and what compensations make of them: moving means over every sixteenth gradient.

    Where compensations change weights, before a forward or after the step, what they change is divided by the learning
    rate, so that it can be compared with a gradient.

    Attributes:
        gradient: norm over all weights of the gate, as gradients arrive.
        correction: norm of all that compensations change.
        ahead: by how much the weights of the latest forward differed from the live ones.
        squares: of the norm of the latest gradient, where other gates clip by the norm of the network.
    """

    def __init__(self) -> None:
        self.gradient, self.correction = MovingMean(WEIGHT_OF_NORM), MovingMean(WEIGHT_OF_NORM)
        self.ahead = self.squares = 0.0
        self._until_due = 0
        self._sum: float | None = None  # of the corrections of the present gradient; None where they are not measured

    @property
    def due(self) -> bool:
        """Whether the norms of the next gradient are taken."""
        return self._until_due == 0

    @property
    def wanted(self) -> bool:
        """Whether corrections of the present gradient are measured."""
        return self._sum is not None

    def begin(self, gradients: Sequence[Tensor | None]) -> None:
        """Take in a gradient as it arrived, before it is compensated."""
        if self._until_due:
            self._until_due -= 1
            self._sum = None
        else:
            self._until_due = NORMS_EVERY - 1
            self._sum = self.ahead
            self.gradient.add(norm_of(gradients))

    def add(self, correction: float) -> None:
        """Take in what a compensation has changed."""
        assert self._sum is not None
        self._sum += correction

    def end(self) -> None:
        """Finish the present gradient."""
        if self._sum is not None:
            self.correction.add(self._sum)
            self._sum = None


def step_at_once(optimizer: Optimizer) -> None:
    """Let the optimizer of a small gate step all parameters in one call, unless its settings forbid that.

    Each call lets another thread take the interpreter, and then has to wait for it. On the CPU torch's own choice is
    one call per parameter and operation. Settings that are tensors rule out `foreach`, and so do parameters that share
    memory, of which one is stepped with what another's step has left.
    """
    memories = [p.untyped_storage().data_ptr() for group in optimizer.param_groups for p in group["params"]]
    numbers = sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])
    if type(optimizer) not in SAME_BITS or numbers > SMALL_GATE or len(set(memories)) < len(memories):
        return
    for group in optimizer.param_groups:
        odd = any(isinstance(value, Tensor) for name, value in group.items() if name != "params")
        free = group["foreach"] is None and not group["differentiable"] and not group.get("fused")
        if free and not odd and {parameter.dtype for parameter in group["params"]} <= EXACT:
            group["foreach"] = True


@dataclass(slots=True)
class Steps:
    """The steps of one gate.

    Args:
        weights: to change.
        optimizer: of them.
        scheduler: of the optimizer.
        compensators: follow each step.
        max_norm: clip each gradient to this norm.
        norms: take in how much followers change.
    """

    weights: Weights
    optimizer: Optimizer
    scheduler: LRScheduler | None
    compensators: Sequence[Compensator]
    max_norm: float | None
    norms: Norms
    _followers: list[Compensator] = field(init=False)
    _watchers: list[Compensator] = field(init=False)

    def __post_init__(self) -> None:
        self._followers, self._watchers = those(self.compensators, "follow"), those(self.compensators, "notice")

    def take(self, update: Update, others: float = 0.0) -> None:
        """Change the weights once; a new version begins.

        Args:
            update: by what.
            others: square of the norm of all other gates' gradients, where clipping is by the norm of the network.
        """
        self.weights.set_gradients(update.gradients)
        if self.max_norm is not None:
            self._clip(self.max_norm, others)
        rates = self._scale(update.rate)
        optimizer_step(self.optimizer)
        if self._followers:
            self._follow(update.staleness)
        for watcher in self._watchers:
            watcher.notice(update.staleness)
        for group, rate in rates:
            group["lr"] = rate
        if self.scheduler is not None:
            self.scheduler.step()
        self.weights.begin_version()

    def _clip(self, max_norm: float, others: float) -> None:
        trainable = self.weights.trainable
        total = get_total_norm([parameter.grad for parameter in trainable if parameter.grad is not None])
        if others:
            total = (total**2 + others) ** 0.5
        clip_grads_with_norm_(trainable, max_norm, total)

    def _scale(self, factor: float) -> list[tuple[dict[str, Any], Any]]:
        """Multiply the learning rates; return what they were."""
        if factor == 1:
            return []
        rates = [(group, group["lr"]) for group in self.optimizer.param_groups]
        for group, rate in rates:
            group["lr"] = rate * factor
        return rates

    @torch.no_grad()
    def _follow(self, staleness: float) -> None:
        trainable = self.weights.trainable
        before = [weight.clone() for weight in trainable] if self.norms.wanted and self.rate else None
        gradients = [parameter.grad for parameter in trainable]
        for follower in self._followers:
            follower.follow(gradients, staleness)
        if before is not None:
            self.norms.add(norm_of(differences(list(trainable), before)) / self.rate)

    @property
    def rate(self) -> float:
        """The learning rate, of the first group."""
        return float(self.optimizer.param_groups[0]["lr"])


def those(compensators: Sequence[Compensator], hook: str) -> list[Compensator]:
    """Return the compensators that do something at this hook."""
    return [each for each in compensators if getattr(type(each), hook) is not getattr(Compensator, hook)]


def norm_of(tensors: Sequence[Tensor | None]) -> float:
    """Return the norm over all tensors."""
    return float(get_total_norm([numbers_of(tensor.detach()) for tensor in tensors if tensor is not None]))
