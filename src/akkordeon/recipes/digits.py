"""Small handwritten digits, 8 x 8 pixels out of scikit-learn, through 64-64-32-10: seconds, and nothing to download.

Shapes: B = batch, H = W = 8 pixels, C = 10 classes.
"""

from functools import partial

from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import LinearLR

from akkordeon.datasets import Loader
from akkordeon.datasets import digits as fetch
from akkordeon.gate import Gate
from akkordeon.metrics import accuracy
from akkordeon.staleness import DelayCompensation

EPOCHS = 30

loss = cross_entropy
metrics = {"accuracy": accuracy}


def gates(lr: float = 0.1, updates: int = EPOCHS * 45, width: int = 64) -> list[Gate]:
    """x_BHW -> logits_BC: three gates, each with its own SGD and adaptive delay compensation.

    Args:
        lr: learning rate of the first update.
        updates: number of updates over which it falls linearly to a hundredth; 45 batches of 32 make an epoch.
        width: of the first hidden layer; the second has half of it.
    """
    optimizer = partial(SGD, lr=lr)
    scheduler = partial(LinearLR, start_factor=1.0, end_factor=0.01, total_iters=updates)
    modules = {
        "stem": nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU()),
        "body": nn.Sequential(nn.Linear(width, width // 2), nn.ReLU()),
        "head": nn.Linear(width // 2, 10),
    }
    return [Gate(name, module, optimizer, DelayCompensation(), scheduler=scheduler) for name, module in modules.items()]


def batches(split: str, take: slice = slice(None), batch_size: int = 32, seed: int = 0) -> Loader:
    """Pairs (x_BHW, target_B) of the digits; the training split in a new order for each epoch."""
    return Loader(fetch(split, take), batch_size, shuffle=split == "train", seed=seed)
