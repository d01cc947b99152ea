"""The network of the first akkordeon: handwritten digits through 784-50-20-10, one gate per layer.

Shapes: B = batch, H = W = 28 pixels, C = 10 classes.
"""

from functools import partial
from pathlib import Path

from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import LinearLR

from akkordeon.datasets import Loader
from akkordeon.datasets import mnist as fetch
from akkordeon.gate.description import Gate
from akkordeon.gate.modules import Standardize
from akkordeon.sentinel.metrics import accuracy
from akkordeon.staleness import DelayCompensation

EPOCHS = 10

loss = cross_entropy
metrics = {"accuracy": accuracy}


def gates(lr: float = 0.05, updates: int = EPOCHS * 938) -> list[Gate]:
    """x_BHW -> logits_BC: three gates, each with its own SGD and adaptive delay compensation.

    Args:
        lr: learning rate of the first update.
        updates: number of updates over which it falls linearly to a hundredth; 938 batches of 64 make an epoch.
    """
    optimizer = partial(SGD, lr=lr)
    scheduler = partial(LinearLR, start_factor=1.0, end_factor=0.01, total_iters=updates)
    # mean and deviation of all training pixels, scaled to 0...1
    modules = {
        "stem": nn.Sequential(Standardize(0.1307, 0.3081), nn.Flatten(), nn.Linear(784, 50), nn.ReLU()),
        "body": nn.Sequential(nn.Linear(50, 20), nn.ReLU()),
        "head": nn.Linear(20, 10),
    }
    return [Gate(name, module, optimizer, DelayCompensation(), scheduler=scheduler) for name, module in modules.items()]


def batches(
    split: str, take: slice = slice(None), batch_size: int = 64, seed: int = 0, folder: Path | None = None
) -> Loader:
    """Pairs (x_BHW, target_B) of MNIST; the training split in a new order for each epoch."""
    size = batch_size if split == "train" else 1000
    return Loader(fetch(split, take, folder=folder), size, shuffle=split == "train", seed=seed)
