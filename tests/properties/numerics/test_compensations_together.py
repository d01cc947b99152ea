"""Compensations beside each other, beside sparse gradients, and beside what is set at run time."""

from functools import partial

import pytest
import torch
from torch import nn

import akkordeon as ak
from akkordeon.gate.backward import BatchGradients
from akkordeon.gate.learner import Learner
from akkordeon.messages.leases import Setting
from tests.properties.numerics.arriving import GRADIENTS, LR, MOMENTUM, STALENESS, Late, Line, close

WATCHING = {
    "last step": ({}, ak.WeightPrediction("last step")),
    "drift": ({"activations": "recomputed"}, ak.DiscrepancyCorrection()),
}


@pytest.mark.parametrize("name", WATCHING)
def test_the_order_does_not_matter_to_what_watches_the_weights(name: str) -> None:
    settings, watching = WATCHING[name]
    first = Late([watching, ak.SpikeCompensation()], MOMENTUM, **settings).run()
    last = Late([ak.SpikeCompensation(), watching], MOMENTUM, **settings).run()
    assert first.history == last.history
    assert first.predicted(2) == last.predicted(2)
    assert torch.equal(first.learner.recall(2).trainable[0], last.learner.recall(2).trainable[0])
    if name == "last step":
        moved = [now - before for before, now in zip(*first.history[-2:], strict=True)]
        assert first.predicted(2) == close([now + 2 * move for now, move in zip(first.now, moved, strict=True)])


def test_what_was_predicted_is_predicted_anew_once_a_rate_is_set() -> None:
    learner = Learner(ak.Gate("line", Line(), MOMENTUM, ak.WeightPrediction()))
    late = Late(ak.WeightPrediction(), MOMENTUM)
    late.learner = learner
    late.run(GRADIENTS[:2], [0, 0])
    ahead = [now - there for now, there in zip(late.now, late.predicted(1), strict=True)]
    learner.tune([Setting("lr", LR / 2, 1)])
    assert [now - there for now, there in zip(late.now, late.predicted(1), strict=True)] == close(
        [a / 2 for a in ahead]
    )


SPARSE: dict[str, ak.Compensation] = {
    "delay": ak.DelayCompensation(),
    "spike": ak.SpikeCompensation(),
    "linear": ak.WeightPrediction(),
    "last step": ak.WeightPrediction("last step"),
    "gap": ak.GapAware(),
    "rate": ak.StalenessScaledRate(),
}


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_gradients_are_as_dense_ones(name: str) -> None:
    """Where some rows of an embedding are looked up, whether its gradient tells of the others or not."""
    weights = []
    for is_sparse in (False, True):
        learner = Learner(ak.Gate("words", nn.Embedding(5, 2, sparse=is_sparse), MOMENTUM, SPARSE[name]))
        with torch.no_grad():
            learner.weights.live[0].copy_(torch.arange(10.0).view(5, 2))
        history = [[each.detach().clone() for each in learner.weights.trainable]]
        for step, staleness in enumerate(STALENESS):
            g = torch.zeros(5, 2)
            g[step % 3] = torch.tensor(GRADIENTS[step][:2])
            given = BatchGradients([g.to_sparse(1) if is_sparse else g], (), finite=True)
            arrival = ak.Arrival(staleness, learner.weights.trainable, history[-1 - staleness])
            assert learner.learn(given, staleness, partial(lambda it: it, arrival)) == staleness
            history.append([each.detach().clone() for each in learner.weights.trainable])
        weights.append(learner.snapshot(2).trainable[0].detach())
    torch.testing.assert_close(*weights)


def test_spike_compensation_and_prediction_go_together() -> None:
    together = Late([ak.WeightPrediction(), ak.SpikeCompensation()], MOMENTUM).run()
    alone = Late(ak.SpikeCompensation(), MOMENTUM).run()
    assert together.history == alone.history
    assert together.predicted(3) != alone.predicted(3)
