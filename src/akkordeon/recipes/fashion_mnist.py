"""Clothes from Fashion-MNIST through three convolutions and a classifier, four gates.

Shapes: B = batch, H = W = 28 pixels, C = 10 classes.
"""

from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam
from torch.optim.lr_scheduler import LinearLR

from akkordeon.datasets import Loader
from akkordeon.datasets import fashion_mnist as fetch
from akkordeon.gate.description import Gate
from akkordeon.gate.modules import Standardize
from akkordeon.sentinel.metrics import accuracy

EPOCHS = 10

loss = cross_entropy
metrics = {"accuracy": accuracy}


def gates(
    lr: float = 2e-3, updates: int = EPOCHS * 469, channels: int = 16, dropout: float = 0.3, computations: int = 2
) -> list[Gate]:
    """x_BHW -> logits_BC: four gates, each with its own Adam.

    Only the last gate draws random numbers: gates that draw must take turns, and the convolutions need not.

    Args:
        lr: learning rate of the first update.
        updates: number of updates over which it falls linearly to a hundredth; 469 batches of 128 make an epoch.
        channels: of the first convolution; the second and third have two and four times as many.
        dropout: of the inputs and hidden units of the classifier in training.
        computations: number of batches that each convolution may compute at once.
    """
    optimizer = partial(Adam, lr=lr)
    scheduler = partial(LinearLR, start_factor=1.0, end_factor=0.01, total_iters=updates)
    # the stem standardizes by the mean and deviation of all training pixels, scaled to 0...1
    modules = {
        "stem": nn.Sequential(
            nn.Sequential(Standardize(0.2860, 0.3530), nn.Unflatten(1, (1, -1))), _convolution(1, channels)
        ),
        "body": _convolution(channels, 2 * channels),
        "neck": _convolution(2 * channels, 4 * channels),
        "head": _classifier(4 * channels * 3 * 3, dropout),
    }
    return [
        Gate(name, module, optimizer, scheduler=scheduler, computations=1 if name == "head" else computations)
        for name, module in modules.items()
    ]


def batches(
    split: str, take: slice = slice(None), batch_size: int = 128, seed: int = 0, folder: Path | None = None
) -> Loader:
    """Pairs (x_BHW, target_B) of Fashion-MNIST; the training split in a new order for each epoch."""
    size = batch_size if split == "train" else 500
    return Loader(fetch(split, take, folder=folder), size, shuffle=split == "train", seed=seed)


def _convolution(channels_in: int, channels_out: int) -> nn.Module:
    """Halve height and width. Pooling before the ReLU gives the same numbers for a quarter of the work."""
    module = nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.MaxPool2d(2),
        nn.ReLU(),
    )
    # 1.4 times as fast on a CPU; torch's types lack this form of `to`
    return cast(nn.Module, module.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


def _classifier(features: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(features, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(128, 10),
    )
