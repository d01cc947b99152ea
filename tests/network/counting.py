"""Gates whose weights say how often each batch was applied.

A batch is a number; gate weights are one entry per number, begin at 0, and lose 1 with each gradient of that batch that
is applied, since the gradient is 1 whatever the weights are. So the weights that survive whatever happened are the
history that survived: 0 is lost or never applied, -1 applied once, -2 applied twice.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

import akkordeon as ak

Numbered = tuple[tuple[Tensor, Tensor], Tensor]


class Counts(nn.Module):
    def __init__(self, num: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num))
        self.twin = nn.Parameter(torch.zeros(num))

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        numbers, total = x
        if not torch.equal(
            self.weight, self.twin
        ):  # they have the same gradients, so only half an update tells them apart
            raise AssertionError("half an update was seen")
        return numbers, total + self.weight[numbers] + self.twin[numbers]


NAMES = ("stem", "body", "head")


def gates(
    num: int,
    optimizer: Callable[..., torch.optim.Optimizer] = SGD,
    names: Sequence[str] = NAMES,
    **settings: Any,
) -> list[ak.Gate]:
    make = partial(optimizer, lr=1.0)
    return [ak.Gate(name, Counts(num), make, **settings) for name in names]


def numbers(first: int, num: int) -> Iterator[Numbered]:
    for number in range(first, first + num):
        yield (torch.tensor([number]), torch.zeros(1)), torch.zeros(1)


def total(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    return output[1].sum()


def training(name: str, first: int, num: int, **settings: Any) -> ak.TrainingSentinel:
    values: dict[str, Any] = {"in_flight": 4, "epochs": 1}
    return ak.TrainingSentinel(name, partial(numbers, first, num), total, **(values | settings))


def applied(network: ak.Network, names: Sequence[str] = NAMES) -> list[list[int]]:
    """Return how often each batch was applied, by gate."""
    weights = network.state_dict()
    return [[-round(float(count)) for count in weights[f"{name}.weight"]] for name in names]
