"""What only torch itself can tell `akkordeon doctor`: how it was built, and whether it trains."""

import time
from functools import partial

import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD

from akkordeon.gate.description import Gate
from akkordeon.network.launching import launch
from akkordeon.sentinel.description import TrainingSentinel

BATCHES = 8


def build() -> str:
    """Say what torch was built for, and what of it is here."""
    if torch.cuda.is_available():
        return f"CUDA {torch.version.cuda}, {torch.cuda.device_count()} devices: {torch.cuda.get_device_name(0)}"
    return f"CUDA {torch.version.cuda}, but no device" if torch.version.cuda else "CPU only"


def threads() -> str:
    """Say how many threads one operation may use; the engine sets them to one while it runs."""
    return f"{torch.get_num_threads()} in one operation; 1 while a network runs, which has a worker per core instead"


def train() -> str:
    """Train two tiny gates and say how long that took.

    Raises:
        AkkordeonError: it did not work.
    """
    began = time.monotonic()
    data = [(torch.ones(4, 3), torch.ones(4, 1)) for _ in range(BATCHES)]
    gates = [Gate("a", nn.Linear(3, 2), partial(SGD, lr=0.01)), Gate("b", nn.Linear(2, 1), partial(SGD, lr=0.01))]
    with launch(gates) as network:
        network.attach(TrainingSentinel("train", lambda: data, mse_loss, in_flight=2, epochs=1, seed=0))
        batches = sum(report.samples for report in network.watch()) // 4
    return f"works: {batches} batches through two gates in {time.monotonic() - began:.2f} s"
