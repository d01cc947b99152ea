"""Compiled gates learn what others do, but for rounding, with late gradients too; new versions need no new code."""

import dataclasses
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Adam

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Stepped, Threads
from tests.properties.numerics.loops import SEED, Batches, cross_entropy, tensors_of

FEATURES, CLASSES, EPOCHS = 6, 3, 4

pytestmark = [
    pytest.mark.timeout(300),  # the C++ compiler takes its time where nothing is cached
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),  # torch hides it itself
    pytest.mark.filterwarnings("ignore:.*is deprecated.*:DeprecationWarning"),  # by torch, in what it imports
]


def batches() -> Batches:
    torch.manual_seed(SEED)
    return [(torch.randn(8, FEATURES), torch.randint(CLASSES, (8,))) for _ in range(10)]


def gates(**settings: Any) -> list[ak.Gate]:
    torch.manual_seed(SEED)
    stem = nn.Sequential(nn.Linear(FEATURES, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh())
    adam = partial(Adam, lr=0.01)
    return [ak.Gate("stem", stem, adam, **settings), ak.Gate("head", nn.Linear(8, CLASSES), adam, **settings)]


def train(chain: list[ak.Gate], engine: Engine) -> tuple[list[ak.Report], nn.Sequential, list[int]]:
    """Train with three batches in flight; return also how many graphs were compiled by the end of each epoch."""
    inner: Any = torch
    data, reports, graphs = batches(), [], []
    sentinel = ak.TrainingSentinel("train", lambda: data, cross_entropy, in_flight=3, epochs=EPOCHS, time_limit=300)
    with ak.launch(chain, engine=engine) as network:
        network.attach(sentinel)
        for report in network.watch():
            reports.append(report)
            graphs.append(inner._dynamo.utils.counters["stats"]["unique_graphs"])
        status, model = network.status(), network.model()
    assert [gate.version for gate in status.gates] == [10 * EPOCHS] * 2
    assert not any(report.skipped for report in reports)
    return reports, model, graphs


def test_compiled_gates_learn_what_others_do_with_late_gradients() -> None:
    ours, theirs = (train(gates(compile=each), Stepped(seed=1, debug=True)) for each in (True, False))
    assert max(late.max for late in ours[0][-1].staleness.values()) > 0
    assert [report.loss for report in ours[0]] == pytest.approx([report.loss for report in theirs[0]], rel=1e-5)
    for one, other in zip(tensors_of(ours[1]), tensors_of(theirs[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert ours[2] == [ours[2][0]] * EPOCHS
    assert ours[2][0] >= len(gates())  # they were compiled


@pytest.mark.parametrize("activations", ["stashed", "recomputed"])
def test_compiled_gates_train_on_several_threads(activations: Any) -> None:
    chain = [dataclasses.replace(gate, activations=activations, computations=2) for gate in gates(compile=True)]
    reports, _, graphs = train(chain, Threads(2, debug=True))
    assert reports[-1].loss < reports[0].loss
    assert graphs == [graphs[0]] * EPOCHS
