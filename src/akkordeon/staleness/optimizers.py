"""What compensations know of optimizers: the parameters of each group, and where its next steps lead.

The `_foreach` functions do for all parameters in one call what a loop would do for each: a small gate spends more time
on calls than on numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from akkordeon.staleness.compensation import Gradients

__all__ = ["Groups", "adam_direction", "dense", "is_adam", "pick", "put_back", "refuse_adam", "refuse_sgd"]


class Groups:
    """The parameters of a gate by the groups of its optimizer.

    Args:
        parameters: of the gate.
        optimizer: of them.
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
        """Yield each group with the numbers of its parameters that have what is asked for, where some have.

        Args:
            gradients: they must have one of these.
            state: name of a state that the optimizer must keep of them by now.
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


def adam_direction(groups: Groups, group: dict[str, Any], members: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the means that Adam keeps, both free of bias: M̂, and sqrt(Ŝ) + ε."""
    beta1, beta2 = group["betas"]
    steps = [float(step) for step in groups.states("step", members)]
    means = list(torch._foreach_div(groups.states("exp_avg", members), [1 - beta1**step for step in steps]))
    roots = list(torch._foreach_sqrt(groups.states("exp_avg_sq", members)))
    torch._foreach_div_(roots, [(1 - beta2**step) ** 0.5 for step in steps])
    torch._foreach_add_(roots, group["eps"])
    return means, roots


def is_adam(optimizer: Optimizer) -> bool:
    """Whether it is torch's Adam or AdamW."""
    return isinstance(optimizer, Adam)


def refuse_adam(optimizer: Optimizer) -> str | None:
    """Return why an Adam cannot be compensated; None if it can."""
    for group in optimizer.param_groups:
        if group["weight_decay"] and not group.get("decoupled_weight_decay"):
            return "the weight_decay of Adam goes through its means; use AdamW"
        if group["amsgrad"] or group["maximize"]:
            return "an Adam with amsgrad or maximize steps otherwise than assumed; leave them out"
    return None


def refuse_sgd(optimizer: Optimizer) -> str | None:
    """Return why the momentum of an SGD cannot be compensated; None if it can."""
    if not isinstance(optimizer, SGD):
        return f"it needs SGD with momentum, not {type(optimizer).__name__}"
    for group in optimizer.param_groups:
        if not 0 < group["momentum"] < 1:
            return f"it is about momentum, and this SGD has momentum={group['momentum']}; give it one, such as 0.9"
        if group["nesterov"] or group["dampening"] or group["maximize"]:
            return "an SGD with nesterov, dampening or maximize steps otherwise than assumed; leave them out"
    return None


def pick(tensors: Gradients, members: Sequence[int]) -> list[Tensor]:
    """Return some of the tensors, those that are there."""
    return [tensor for index in members if (tensor := tensors[index]) is not None]


def dense(gradients: Gradients, members: Sequence[int]) -> list[Tensor]:
    """Return some of the gradients, with all their zeros."""
    return [gradient.to_dense() if gradient.is_sparse else gradient for gradient in pick(gradients, members)]


def put_back(gradients: Gradients, members: Sequence[int], corrected: Sequence[Tensor]) -> list[Tensor | None]:
    """Return all gradients, with some of them corrected."""
    result = list(gradients)
    for index, gradient in zip(members, corrected, strict=True):
        result[index] = gradient
    return result
