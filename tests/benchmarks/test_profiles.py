"""Delays that are chosen are what gradients have, and what is learned with them is what the formula says."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

import akkordeon as ak
from benchmarks.staleness.profiles import Profile, profile
from tests.properties.numerics.loops import Batches, Recorded, Recorder, cross_entropy, one_thread

LR, NUM_BATCHES = 0.1, 50


def chain() -> list[nn.Module]:
    torch.manual_seed(3)
    modules: list[nn.Module] = [nn.Sequential(nn.Linear(5, 6), nn.Tanh()), nn.Sequential(nn.Linear(6, 6), nn.Tanh())]
    return [each.double() for each in [*modules, nn.Linear(6, 3)]]


def batches() -> Batches:
    torch.manual_seed(4)
    return [(torch.randn(4, 5, dtype=torch.double), torch.randint(3, (4,))) for _ in range(NUM_BATCHES)]


def record(late: Profile) -> tuple[list[list[Recorded]], dict[str, Tensor]]:
    """Train with one update per batch; return what arrived at each gate, and the weights at the end."""
    recorders = [Recorder() for _ in chain()]
    gates = [
        ak.Gate(str(number), module, partial(SGD, lr=LR), recorder)
        for number, (module, recorder) in enumerate(zip(chain(), recorders, strict=True))
    ]
    data = batches()
    with ak.launch(late.gates(gates), engine=late.engine(0)) as network:
        network.attach(ak.TrainingSentinel("train", lambda: data, cross_entropy, in_flight=late.in_flight, epochs=1))
        assert len(list(network.watch())) == 1
        weights = network.state_dict()
    return [recorder.seen for recorder in recorders], weights


def staleness(late: Profile) -> list[list[int]]:
    return [[each.arrival.staleness for each in seen] for seen in record(late)[0]]


@pytest.mark.parametrize("late", [0, 1, 4, 7])
def test_uniform_delays_are_the_same_at_all_gates(late: int) -> None:
    expected = [min(number, late) for number in range(NUM_BATCHES)]
    assert staleness(profile("uniform", late)) == [expected] * 3


def test_in_a_pipeline_of_single_batches_each_gate_is_two_updates_later_than_the_next() -> None:
    assert [seen[12:] for seen in staleness(profile("pipelined", 3))] == [[late] * 38 for late in (4, 2, 0)]


def test_one_forward_one_backward_is_one_update_later_from_gate_to_gate() -> None:
    assert [seen[12:] for seen in staleness(profile("1F1B", 3))] == [[late] * 38 for late in (2, 1, 0)]


def test_scattered_delays_differ_from_batch_to_batch() -> None:
    (first, *_) = staleness(profile("scattered", 6))
    assert set(first[10:]) > {3, 4, 5}
    assert max(first) <= 6


@pytest.mark.parametrize(("kind", "amount"), [("uniform", 4), ("pipelined", 3), ("1F1B", 3)])
def test_training_follows_the_formula_of_mixed_versions(kind: str, amount: int) -> None:
    arrivals, weights = record(profile(kind, amount))
    modules = chain()
    history = [[[p.detach().clone() for p in module.parameters()]] for module in modules]
    with one_thread():
        for number, (x, target) in enumerate(batches()):
            used = [
                versions[number - seen[number].arrival.staleness]
                for versions, seen in zip(history, arrivals, strict=True)
            ]
            leaves = [[each.clone().requires_grad_() for each in own] for own in used]
            output = x
            for module, own in zip(modules, leaves, strict=True):
                output = torch.func.functional_call(
                    module, dict(zip(dict(module.named_parameters()), own, strict=True)), output
                )
            gradients = iter(
                torch.autograd.grad(cross_entropy(output, target), [each for own in leaves for each in own])
            )
            for versions in history:
                versions.append([w.sub(next(gradients), alpha=LR) for w in versions[-1]])
    expected = [each for versions in history for each in versions[-1]]
    assert all(torch.equal(one, other) for one, other in zip(weights.values(), expected, strict=True))
    assert len(arrivals[0]) == NUM_BATCHES
