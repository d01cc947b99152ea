"""The two ways to train that these tests compare: a plain PyTorch loop, and a network of gates."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import Parameter
from torch.optim import Optimizer

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.sentinel.loss import Loss
from akkordeon.staleness import Arrival, Compensation, Compensator

Batches = Sequence[tuple[Any, Tensor]]
MakeOptimizer = Callable[[list[Parameter]], Optimizer]

SEED = 7


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output.flatten(1), target)


def squares(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) ** 2).mean()


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_plainly(
    model: nn.Module,
    make_optimizer: MakeOptimizer | None,
    batches: Batches,
    *,
    epochs: int,
    loss: Loss = cross_entropy,
) -> list[float]:
    """Train with what every tutorial shows; return the mean loss over the samples of each epoch."""
    optimizer = make_optimizer(list(model.parameters())) if make_optimizer else None
    figures = []
    model.train()
    with one_thread():
        for _ in range(epochs):
            total = 0.0
            for x, target in batches:
                value = loss(model(x), target)
                if optimizer is not None:
                    optimizer.zero_grad()
                    torch.autograd.backward(value)
                    optimizer.step()
                total += value.item() * len(target)
            figures.append(total / sum(len(target) for _, target in batches))
    return figures


def evaluate_plainly(model: nn.Module, batches: Batches) -> list[Tensor]:
    model.eval()
    with one_thread(), torch.no_grad():
        return [model(x) for x, _ in batches]


def train_as_network(
    gates: Sequence[ak.Gate],
    engine: Engine,
    batches: Batches,
    *,
    epochs: int = 1,
    in_flight: int = 1,
    loss: Loss = cross_entropy,
    beside: Sequence[ak.ValidationSentinel] = (),
) -> "Trained":
    """Train with one sentinel, evaluate, and check that nothing was left over or skipped."""
    with ak.launch(gates, engine=engine) as network:
        for sentinel in beside:
            network.attach(sentinel)
        train = ak.TrainingSentinel("train", lambda: batches, loss, in_flight=in_flight, epochs=epochs)
        network.attach(train)
        reports = list(network.watch())
        for sentinel in beside:
            network.detach(sentinel.name)
        model = network.model()
        network.attach(ak.TestSentinel("test", lambda: batches, loss))
        (test,) = (report for report in network.watch() if report.sentinel == "test")
        status = network.status()
    for gate in status.gates:
        assert gate.open == 0
        assert not gate.skipped
    training = [report for report in reports if report.sentinel == "train"]
    others = [report for report in reports if report.sentinel != "train"]
    assert not any(report.skipped for report in training)
    return Trained(model, training, others, list(test.outputs), status.gates)


@dataclass(frozen=True)
class Trained:
    model: nn.Sequential
    reports: list[ak.Report]
    others: list[ak.Report]
    outputs: list[Tensor]
    gates: tuple[ak.GateStatus, ...]


def tensors_of(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers, in order, whatever they are called."""
    return [*model.parameters(), *model.buffers()]


def assert_same(ours: nn.Module, plain: nn.Module) -> None:
    """Check that all weights and buffers are the same, bit for bit."""
    assert_same_tensors(tensors_of(ours), tensors_of(plain))


def assert_same_tensors(ours: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> None:
    assert len(ours) == len(expected)
    for number, (one, other) in enumerate(zip(ours, expected, strict=True)):
        if one is None or other is None:
            assert one is other, f"tensor {number}"
        else:
            assert torch.equal(one, other), f"tensor {number} differs by {(one - other).abs().max()}"


@dataclass(frozen=True)
class Recorded:
    """What a compensator saw. `then` is as it was handed out, so a later write into it shows in `then_copy`."""

    gradients: list[Tensor | None]
    now: list[Tensor]
    then: list[Tensor]
    then_copy: list[Tensor]
    arrival: Arrival


@dataclass(frozen=True)
class Recorder(Compensation):
    """Corrects nothing, and keeps what it sees, in the order of arrival."""

    seen: list[Recorded] = field(default_factory=list)

    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        return _Recording(self.seen)


class _Recording(Compensator):
    def __init__(self, seen: list[Recorded]) -> None:
        self._seen = seen

    def correct(self, gradients: Sequence[Tensor | None], arrival: Arrival) -> list[Tensor | None]:
        self._seen.append(
            Recorded(
                gradients=[None if g is None else g.clone() for g in gradients],
                now=[tensor.detach().clone() for tensor in arrival.now],
                then=list(arrival.then),
                then_copy=[tensor.detach().clone() for tensor in arrival.then],
                arrival=arrival,
            )
        )
        return list(gradients)
