"""Parts that are in evaluation mode while the rest trains."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.strangers.entry import WIDTH, Chain, Entry
from tests.strangers.parts import around, head, linear


def normed() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(0.4), nn.Linear(WIDTH, WIDTH))


class Overridden(nn.Module):
    """Keeps its BatchNorm in evaluation mode by an override of `train`, as fine-tuning does."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = normed()

    def train(self, mode: bool = True) -> "Overridden":
        super().train(mode)
        self.layers[1].eval()
        return self

    def forward(self, x: Tensor) -> Any:
        return self.layers(x)


class Toggled(nn.Module):
    """Switches its BatchNorm to evaluation mode for a second look within the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Any:
        y = self.norm(x)
        if not self.training:
            return y
        self.norm.eval()
        again = self.norm(x + 0.1)
        self.norm.train()
        return y - 0.1 * again


class Untracked(nn.Module):
    """Switches tracking of statistics off for a second look, by an attribute, as adversarial training does."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Any:
        y = self.norm(x)
        self.norm.track_running_stats = not self.training
        again = self.norm(x + 0.1)
        self.norm.track_running_stats = True
        return y - 0.1 * again


class FrozenBackbone(nn.Module):
    """Runs a backbone in evaluation mode under no_grad."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = normed().eval()
        self.read = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            x = self.backbone(x)
        return self.read(x)


class Always(nn.Module):
    """Drops out in evaluation, too (Monte Carlo dropout)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        return nn.functional.dropout(self.linear(x), 0.3, training=True)


class ReadsMode(nn.Module):
    """Asks a part of itself, not itself, whether it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = normed()
        self.layers[3].eval()

    def forward(self, x: Tensor) -> Any:
        x = self.layers(x)
        return x if self.layers[3].training else 0.5 * x


def evaluated(*parts: int, frozen: bool = False) -> Chain:
    middle = normed()
    for part in parts:
        middle[part].eval().requires_grad_(requires_grad=not frozen)
    return around(middle)


def whole_evaluated() -> Chain:
    return [linear(), normed().eval(), head()]


ENTRIES = {
    "BatchNorm in evaluation mode": Entry(lambda: evaluated(1)),
    "BatchNorm in evaluation mode, frozen": Entry(lambda: evaluated(1, frozen=True)),
    "dropout in evaluation mode": Entry(lambda: evaluated(2)),
    "both in evaluation mode": Entry(lambda: evaluated(1, 2)),
    "a whole gate in evaluation mode": Entry(whole_evaluated),
    "override of train()": Entry(lambda: around(Overridden().train())),
    "mode that a forward switches": Entry(lambda: around(Toggled())),
    "statistics that a forward switches": Entry(lambda: around(Untracked())),
    "backbone in evaluation mode, without gradient": Entry(lambda: [FrozenBackbone(), linear(), head()]),
    "dropout that never ends": Entry(lambda: around(Always()), validated=False),
    "a part's mode, not its own": Entry(lambda: around(ReadsMode())),
}
