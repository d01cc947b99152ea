"""Losses and targets."""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.strangers.entry import CLASSES, WIDTH, Chain, Entry, floats, labels
from tests.strangers.parts import head, linear

Pair = namedtuple("Pair", "label weight")


@dataclass
class Held:
    """A target that is an object."""

    label: Tensor


def writes(output: Tensor, target: Tensor) -> Tensor:
    """Write into the output, as losses of detectors do."""
    output[:, 1:] = output[:, 1:].sigmoid()
    return functional.mse_loss(output, functional.one_hot(target, CLASSES).float())


def writes_all(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output.sigmoid_(), functional.one_hot(target, CLASSES).float())


def weighted(output: Tensor, target: dict[str, Tensor]) -> Tensor:
    return (functional.cross_entropy(output, target["label"], reduction="none") * target["weight"]).mean()


def label_and_weight(size: int) -> dict[str, Tensor]:
    return {"label": labels(size), "weight": torch.rand(size)}


def boxes(size: int) -> list[dict[str, Tensor]]:
    """Targets of a detector: the first sample holds no box."""
    return [{"boxes": torch.zeros(number, 4), "label": torch.randint(CLASSES, ())} for number in range(size)]


def of_boxes(output: Tensor, target: list[dict[str, Tensor]]) -> Tensor:
    return functional.cross_entropy(output, torch.stack([each["label"] for each in target]))


def of_array(output: Tensor, target: Any) -> Tensor:
    return functional.cross_entropy(output, torch.as_tensor(target))


def of_object(output: Tensor, target: Any) -> Tensor:
    return functional.cross_entropy(output, target.label)


def contrastive(output: Tensor, target: Tensor) -> Tensor:
    """Compare all samples of a batch with one another."""
    near = functional.normalize(output)
    same = (target[:, None] == target).float()
    return ((near @ near.t() - same) ** 2).mean()


def smooth(output: Tensor, target: Tensor) -> Tensor:
    """Penalise the slope of the loss at the output: a gradient inside the loss."""
    value = functional.cross_entropy(output, target)
    if not output.requires_grad:
        return value
    (slope,) = torch.autograd.grad(value, output, create_graph=True)
    return value + slope.square().sum()


def mixed(output: Tensor, target: Tensor) -> Tensor:
    """Draw random numbers in the loss."""
    drawn = functional.dropout(output, 0.2, training=output.requires_grad)
    return functional.cross_entropy(drawn, target)


def all_outputs(output: Any, target: Tensor) -> Any:
    """Use several outputs, some of them twice."""
    states, (_, cell) = output
    return ((states.mean(1) - target) ** 2).mean() + cell.square().mean() + 0.1 * states.square().mean()


LOG_VARIANCE = nn.Parameter(torch.zeros(()))


def learned(output: Tensor, target: Tensor) -> Tensor:
    """Weigh by a parameter that no gate holds."""
    return functional.cross_entropy(output, target) * (-LOG_VARIANCE).exp() + LOG_VARIANCE


def small() -> Chain:
    return [linear(), head()]


ENTRIES = {
    "writes into the output": Entry(small, loss=writes),
    "writes into all of the output": Entry(small, loss=writes_all),
    "target that is a dict": Entry(small, target=label_and_weight, loss=weighted),
    "targets with boxes": Entry(small, target=boxes, loss=of_boxes),
    "target that is an array": Entry(small, target=lambda size: labels(size).numpy().astype(np.int64), loss=of_array),
    "target that is a named tuple": Entry(small, target=lambda size: Pair(labels(size), 1.0), loss=of_object),
    "target that is an object": Entry(small, target=lambda size: Held(labels(size)), loss=of_object),
    "compares samples": Entry(small, loss=contrastive),
    "slope of the loss": Entry(small, loss=smooth),
    "random numbers in the loss": Entry(small, loss=mixed, apart=False),
    "several outputs": Entry(
        lambda: [nn.LSTM(WIDTH, WIDTH, batch_first=True)], floats(4, WIDTH), floats(WIDTH), all_outputs
    ),
    "weight that the loss learns": Entry(small, loss=learned, refused="loss"),
}
