"""Parameter groups and states of optimizers, for the compensations.

The `_foreach` functions handle all parameters in one call: a small gate spends more time on calls than on numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from akkordeon.staleness.compensation import Gradients

OneTensor = TypeVar("OneTensor", bound=Tensor | None)


class Groups:
    """The parameters of a gate by the groups of its optimizer.

    Args:
        parameters: of the gate.
        optimizer: of these parameters.
    """

    def __init__(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> None:
        number = {id(parameter): index for index, parameter in enumerate(parameters)}
        self.parameters = parameters
        self.optimizer = optimizer
        # By number: a state that is loaded replaces the optimizer's own dictionaries.
        self._members = [
            [number[id(p)] for p in group["params"] if id(p) in number] for group in optimizer.param_groups
        ]

    def having(
        self, gradients: Gradients | None = None, state: str | None = None
    ) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Yield each group with the indices of those of its parameters that meet the conditions, if any do.

        Args:
            gradients: the parameter must have one of these.
            state: name of a state that the optimizer must already keep for it.
        """
        for group, members in zip(self.optimizer.param_groups, self._members, strict=True):
            found = [index for index in members if gradients is None or gradients[index] is not None]
            if state is not None:
                kept = self.optimizer.state
                found = [index for index in found if kept[self.parameters[index]].get(state) is not None]
            if found:
                yield group, found

    def states(self, key: str, members: Sequence[int]) -> list[Tensor]:
        """Return one kind of state of some parameters."""
        return [self.optimizer.state[self.parameters[index]][key] for index in members]


def adam_roots(groups: Groups, group: dict[str, Any], members: Sequence[int]) -> tuple[list[Tensor], list[float]]:
    """Return Adam's divisor for each parameter, as two factors: a tensor and a number.

    With S the mean of squares at step t, sqrt(S / (1 - β2^t)) + ε is (sqrt(S) + ε b) / b, with b = sqrt(1 - β2^t): this
    returns the first factor, and b.
    """
    unbias = [(1 - group["betas"][1] ** float(step)) ** 0.5 for step in groups.states("step", members)]
    roots = list(torch._foreach_sqrt(groups.states("exp_avg_sq", members)))
    torch._foreach_add_(roots, [group["eps"] * each for each in unbias])
    return roots, unbias


def refuse_complex(optimizer: Optimizer) -> str | None:
    """Return why these parameters cannot be compensated by a formula for real numbers; None if they can."""
    if any(parameter.is_complex() for group in optimizer.param_groups for parameter in group["params"]):
        return "its formula is one for real weights, and some are complex; leave it out, or put these into another gate"
    return None


def refuse_adam(optimizer: Optimizer) -> str | None:
    """Return why this Adam cannot be compensated; None if it can."""
    for group in optimizer.param_groups:
        if group["weight_decay"] and not group.get("decoupled_weight_decay"):
            return "the weight_decay of Adam goes through its means; use AdamW"
        if group["amsgrad"] or group["maximize"]:
            return "amsgrad and maximize change the steps of Adam; leave them out"
    return refuse_complex(optimizer)  # Adam treats real and imaginary parts as two numbers


def refuse_sgd(optimizer: Optimizer) -> str | None:
    """Return why the momentum of this SGD cannot be compensated; None if it can."""
    if not isinstance(optimizer, SGD):
        return f"it needs SGD with momentum, not {type(optimizer).__name__}"
    for group in optimizer.param_groups:
        if not 0 < group["momentum"] < 1:
            return f"it needs SGD with momentum, and this one has momentum={group['momentum']}; set it, to 0.9, say"
        if group["nesterov"] or group["dampening"] or group["maximize"]:
            return "nesterov, dampening and maximize change the steps of SGD; leave them out"
    return None


def pick(tensors: Gradients, members: Sequence[int]) -> list[Tensor]:
    """Return the tensors with these indices, except those that are None."""
    return [tensor for index in members if (tensor := tensors[index]) is not None]


def put_back(tensors: Sequence[OneTensor], members: Sequence[int], others: Sequence[OneTensor]) -> list[OneTensor]:
    """Return the tensors, with those at these indices replaced by others."""
    result = list(tensors)
    for index, other in zip(members, others, strict=True):
        result[index] = other
    return result
