"""Networks that save memory: parts of their forward run again in the backward."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
)

from tests.strangers.entry import CLASSES, TIME, WIDTH, Chain, Entry, floats
from tests.strangers.parts import around, head, linear

Make = Callable[[], nn.Module]


class Again(nn.Module):
    """Adds what its inner module makes, and computes that again in the backward."""

    def __init__(self, inner: nn.Module, *, reentrant: bool = False, **settings: Any) -> None:
        super().__init__()
        self.inner = inner
        self.reentrant = reentrant
        self.settings = settings

    def forward(self, x: Tensor) -> Any:
        return x + checkpoint(self.inner, x, use_reentrant=self.reentrant, **self.settings)


class OwnMethod(nn.Module):
    """Checkpoints a method of its own, as torchvision's DenseNet does: several inputs, in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2 * WIDTH)
        self.linear = nn.Linear(2 * WIDTH, WIDTH)

    def bottleneck(self, *inputs: Tensor) -> Any:
        return self.linear(self.norm(torch.cat(inputs, 1)).relu())

    def forward(self, x: Tensor) -> Any:
        if self.training:
            return checkpoint(self.bottleneck, x, x * 2, use_reentrant=False)
        return self.bottleneck(x, x * 2)


class OwnLambda(nn.Module):
    """Checkpoints a lambda that is made in the forward, and an argument that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Any:
        return checkpoint(lambda y, power: (y * self.scale).tanh() ** power, x, 3, use_reentrant=False)


class InSegments(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(linear() for _ in range(4)))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Any:
        return checkpoint_sequential(self.layers, 2, x, use_reentrant=self.reentrant)  # type: ignore[no-untyped-call]


class EachStep(nn.Module):
    """Checkpoints each step of a recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.zeros(len(x), WIDTH)
        for step in x.unbind(1):
            hidden = checkpoint(self.cell, step, hidden, use_reentrant=False)
        return hidden


def policy(_: Any, operation: Any, *__: Any, **___: Any) -> CheckpointPolicy:
    saved = operation == torch.ops.aten.addmm.default
    return CheckpointPolicy.MUST_SAVE if saved else CheckpointPolicy.PREFER_RECOMPUTE


def selective() -> Any:
    return create_selective_checkpoint_contexts(policy)  # type: ignore[no-untyped-call]


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.3), nn.Tanh(), nn.Dropout(0.1))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Tanh())


def frozen_norm() -> nn.Module:
    inner = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(0.2))
    inner[1].eval()
    return inner


def layer() -> nn.Module:
    return nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.1, batch_first=True)


def frozen_inside() -> nn.Module:
    return nn.Sequential(
        nn.Linear(WIDTH, WIDTH).requires_grad_(requires_grad=False), nn.Tanh(), nn.Linear(WIDTH, WIDTH)
    )


def two(make: Make, **settings: Any) -> Chain:
    return [linear(), Again(make(), **settings), Again(make(), **settings), head()]


class MeanHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.read(x.mean(1))


series = floats(TIME, WIDTH)

ENTRIES = {
    "checkpointed": Entry(lambda: two(linear)),
    "checkpointed the old way": Entry(lambda: two(linear, reentrant=True)),
    "with dropout": Entry(lambda: two(dropping)),
    "with dropout, the old way": Entry(lambda: two(dropping, reentrant=True)),
    "with BatchNorm": Entry(lambda: two(normed)),
    "with BatchNorm, the old way": Entry(lambda: two(normed, reentrant=True)),
    "with BatchNorm in evaluation mode": Entry(lambda: two(frozen_norm)),
    "nested": Entry(lambda: two(lambda: Again(dropping()))),
    "in segments": Entry(lambda: around(InSegments(reentrant=False))),
    "in segments, the old way": Entry(lambda: around(InSegments(reentrant=True))),
    "selective": Entry(lambda: two(linear, context_fn=selective)),
    "without random numbers kept": Entry(lambda: two(linear, preserve_rng_state=False)),
    "with frozen parts": Entry(lambda: two(frozen_inside)),
    "a method of several inputs": Entry(lambda: around(OwnMethod())),
    "a lambda over self": Entry(lambda: around(OwnLambda())),
    "each step of a recurrence": Entry(lambda: [EachStep(), head()], series),
    "transformer layers": Entry(
        lambda: [Again(layer()), Again(layer()), MeanHead()], series, optimizer=partial(AdamW, lr=0.01)
    ),
}
