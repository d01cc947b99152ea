"""A save that version 0.1.0 wrote still loads, and training continues from it as version 0.1.0 would have."""

from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR

import akkordeon as ak

SAVED = Path(__file__).parent / "version_0_1"


def step_rate(optimizer: Optimizer) -> LRScheduler:
    return StepLR(optimizer, 3)


def gates() -> list[ak.Gate]:
    stem = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU())
    late = [ak.DelayCompensation(), ak.StalenessScaledRate()]
    momentum = partial(SGD, lr=0.1, momentum=0.9)
    return [
        ak.Gate("stem", stem, partial(AdamW, lr=0.01), late, scheduler=step_rate),
        ak.Gate("body", nn.Linear(5, 4), momentum, ak.SpikeCompensation(), accumulate=2),
        ak.Gate("head", nn.Linear(4, 3), partial(SGD, lr=0.1, momentum=0.5), ak.GapAware()),
    ]


def batches() -> list[tuple[Tensor, Tensor]]:
    x, target = torch.arange(96.0).reshape(24, 4).sin(), torch.arange(24) % 3
    return [(x[i : i + 4], target[i : i + 4]) for i in range(0, 24, 4)]


def test_training_continues_from_it() -> None:
    with ak.launch(gates(), resume=SAVED) as network:
        network.attach(ak.TrainingSentinel("train", batches, cross_entropy, epochs=4))
        reports = list(network.watch())
        continued = network.state_dict()
    assert [report.epoch for report in reports] == [4]
    expected = load_file(SAVED / "continued.safetensors")
    assert continued.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(continued[name], tensor, rtol=1e-5, atol=1e-7, msg=name)


def test_its_weights_make_an_ordinary_module() -> None:
    module = ak.load(SAVED, gates()).eval()
    assert module(torch.ones(2, 4)).shape == (2, 3)
