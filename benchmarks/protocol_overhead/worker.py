"""Trains epochs on request with one version of akkordeon: the one that PYTHONPATH names.

It imports nothing but torch and the public names of akkordeon, since the version may be an old one.
"""

import json
import sys
import time
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak

BATCH, BATCHES = 1024, 60


def main(in_flight: int, epochs: int) -> None:
    """Train an epoch per line of input, print the time of each."""
    torch.manual_seed(0)
    x, target = torch.rand(BATCHES * BATCH, 784), torch.randint(0, 10, (BATCHES * BATCH,))
    parts = {
        "stem": nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.ReLU()),
        "body": nn.Sequential(nn.Linear(50, 20), nn.ReLU()),
        "head": nn.Linear(20, 10),
    }
    gates = [ak.Gate(name, part, partial(SGD, lr=0.01)) for name, part in parts.items()]
    began = (0.0, 0.0)

    def epoch() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal began
        sys.stdin.readline()
        began = (time.perf_counter(), time.process_time())
        yield from zip(torch.split(x, BATCH), torch.split(target, BATCH), strict=True)

    with ak.launch(gates) as network:
        data = ak.TrainingSentinel("train", epoch, cross_entropy, in_flight=in_flight, epochs=epochs, time_limit=1e4)
        network.attach(data)
        for _ in network.watch():
            print(json.dumps([time.perf_counter() - began[0], time.process_time() - began[1]]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
