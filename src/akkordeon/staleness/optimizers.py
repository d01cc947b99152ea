"""What compensations know of optimizers: the parameters of each group, and where its next steps lead.

The `_foreach` functions do for all parameters in one call what a loop would do for each: a small gate spends more time
on calls than on numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from akkordeon.staleness.compensation import Gradients

T = TypeVar("T", bound=Tensor | None)


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


def adam_roots(groups: Groups, group: dict[str, Any], members: Sequence[int]) -> tuple[list[Tensor], list[float]]:
    """Return what Adam divides by, for each parameter, as two factors: a tensor and a number.

    With S the mean of squares at step t, sqrt(S / (1 - β2^t)) + ε is (sqrt(S) + ε b) / b, of b = sqrt(1 - β2^t): this
    returns the first factor, and b.
    """
    unbias = [(1 - group["betas"][1] ** float(step)) ** 0.5 for step in groups.states("step", members)]
    roots = list(torch._foreach_sqrt(groups.states("exp_avg_sq", members)))
    torch._foreach_add_(roots, [group["eps"] * each for each in unbias])
    return roots, unbias


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


def put_back(tensors: Sequence[T], members: Sequence[int], others: Sequence[T]) -> list[T]:
    """Return all of the tensors, with others in place of some."""
    result = list(tensors)
    for index, other in zip(members, others, strict=True):
        result[index] = other
    return result
