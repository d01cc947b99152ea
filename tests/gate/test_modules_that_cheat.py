"""Modules and optimizers that go behind a gate's back: put right where that can be done, refused by name where not."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Threads


def pairs(x: Tensor, num: int = 6) -> Iterator[tuple[Tensor, Tensor]]:
    for number in range(num):
        yield x.clone(), torch.full((len(x), 3), float(number))


def train(engine: Engine, gates: list[ak.Gate], x: Tensor) -> nn.Sequential:
    with ak.launch(gates, engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", partial(pairs, x), mse_loss, epochs=1))
        list(network.watch())
        return network.model()


class Shift(nn.Module):
    """The gradient of its weight is the very tensor that goes on upstream."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(6, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Scale(nn.Module):
    """The gradient of its weight is one number, expanded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3] + self.weight.sum()


class Listed(nn.Module):
    """Reaches its parameter through a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.all = [self.weight]

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.all[0])[:, :3]


class Clamped(nn.Module):
    """Writes into its weight in each forward."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.clamp_(0, 0.5)
        return (x * self.weight)[:, :3]


class Late(nn.Module):
    """Does something to itself in its fifth forward, at which no contents are compared."""

    def __init__(self, do: Callable[["Late"], object]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.steps = [0]  # counts in place, which no identity tells
        self.do = do

    def forward(self, x: Tensor) -> Tensor:
        self.steps[0] += self.training
        if self.steps[0] == 5:
            self.do(self)
        return (x * self.weight)[:, :3]


class Counting(nn.Module):
    """Counts in itself, from the fifth batch on."""

    forwards = 0  # of the class

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.warm = 0.0

    def forward(self, x: Tensor) -> Tensor:
        type(self).forwards += 1
        if self.forwards >= 5:
            self.warm += 0.5
        return (x * self.weight)[:, :3]


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).abs()[:, :3]


class Masked(nn.Module):
    """Draws in its forward, and lets somebody else draw too every time it is computed again."""

    forwards = 0  # of the class: what an object keeps of its own is never computed again

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        type(self).forwards += self.training
        masked = dropout(x * self.weight, 0.5, self.training)
        if self.forwards > 1:
            other = threading.Thread(target=torch.rand, args=(1,))
            other.start()
            other.join()
        return masked[:, :3]


def test_an_optimizer_that_writes_into_gradients_does_not_change_what_goes_upstream(engine: Engine) -> None:
    torch.manual_seed(1)
    modules = [nn.Linear(8, 8), Shift(), nn.Linear(8, 3)]
    x = torch.randn(6, 8)
    make = partial(SGD, lr=0.1, momentum=0.9, nesterov=True, foreach=True)
    model = train(engine, [ak.Gate(f"gate{i}", module, make) for i, module in enumerate(modules)], x)
    plain = nn.Sequential(*modules)
    optimizer = make(plain.parameters())
    for batch, target in pairs(x):
        optimizer.zero_grad()
        torch.autograd.backward(mse_loss(plain(batch), target))
        optimizer.step()
    for mine, its in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_an_expanded_gradient_can_be_written_into(engine: Engine) -> None:
    make = partial(SGD, lr=0.01, momentum=0.9, nesterov=True, foreach=True)
    model = train(engine, [ak.Gate("scale", Scale(), make)], torch.randn(6, 8))
    weight = model.get_parameter("scale.weight")
    assert bool((weight == weight[0]).all())
    assert weight[0] != 1


def test_a_complex_weight_is_trained(engine: Engine) -> None:
    model = train(engine, [ak.Gate("complex", Complex(), partial(SGD, lr=0.1))], torch.randn(6, 8))
    assert not torch.equal(model.get_parameter("complex.weight"), torch.ones(8, dtype=torch.complex64))


@pytest.mark.parametrize("adaptive", [False, True])
def test_delay_compensation_takes_sparse_gradients(engine: Engine, *, adaptive: bool) -> None:
    gates = [
        ak.Gate("table", nn.Embedding(5, 3, sparse=True), partial(SGD, lr=1.0), ak.DelayCompensation(adaptive=adaptive))
    ]
    with ak.launch(gates, engine=engine) as network:
        data = partial(pairs, torch.tensor([0, 1, 1, 4]), 12)
        network.attach(ak.TrainingSentinel("train", data, mse_loss, in_flight=4, epochs=1))
        list(network.watch())
        weight = network.model().get_parameter("table.weight")
    before = gates[0].module.get_parameter("weight")
    assert torch.equal(weight[2:4], before[2:4])
    assert not torch.equal(weight[0], before[0])


def test_a_parameter_that_is_reached_by_a_way_of_its_own_is_refused(engine: Engine) -> None:
    with pytest.raises(ak.BatchRefused, match=r"gate 'listed' .* parameter of shape \(8,\) through a reference of its"):
        train(engine, [ak.Gate("listed", Listed(), partial(SGD, lr=0.1))], torch.randn(6, 8))


@pytest.mark.parametrize(
    ("module", "x"), [(Clamped(), torch.ones(6, 8)), (nn.Embedding(4, 3, max_norm=0.1), torch.ones(6).long())]
)
def test_a_module_that_writes_its_own_weights_is_refused(engine: Engine, module: nn.Module, x: Tensor) -> None:
    with pytest.raises(
        ak.BatchRefused, match=r"gate 'writer' .* the module writes into its own weights in its forward"
    ):
        train(engine, [ak.Gate("writer", module, partial(SGD, lr=0.1))], x)


def assign(module: Late) -> None:
    module.weight.data = torch.zeros(8)


def replace(module: Late) -> None:
    module.weight = nn.Parameter(torch.zeros(8))


@pytest.mark.parametrize("do", [assign, replace])
def test_a_weight_that_a_forward_replaces_late_is_refused(engine: Engine, do: Callable[[Late], object]) -> None:
    with pytest.raises(ak.BatchRefused, match=r"batch 4 .* the module writes into its own weights in its forward"):
        train(engine, [ak.Gate("writer", Late(do), partial(SGD, lr=0.1))], torch.ones(6, 8))


def test_state_that_a_forward_changes_late_is_noticed() -> None:
    Counting.forwards = 0
    gate = ak.Gate("counting", Counting(), partial(SGD, lr=0.1), computations=2)
    with ak.launch([gate], engine=Threads(2)) as network:
        network.attach(ak.TrainingSentinel("train", partial(pairs, torch.ones(6, 8)), mse_loss, epochs=1))
        list(network.watch())
        (status,) = network.status().gates
    assert status.alone == "its forward changes 'warm', which the next one may use"


def test_a_parameter_with_a_gradient_hook_is_refused() -> None:
    module = nn.Linear(2, 2)
    module.weight.register_hook(lambda gradient: gradient * 0.5)  # type: ignore[no-untyped-call]
    with pytest.raises(ak.WiringError, match="gate 'hooked': parameter 'weight' has a gradient hook"):
        ak.Gate("hooked", module, partial(SGD, lr=0.1))


def test_a_forward_whose_random_numbers_cannot_be_drawn_again_is_refused() -> None:
    gate = ak.Gate("masked", Masked(), partial(SGD, lr=0.1), activations="recomputed")
    with pytest.raises(ak.BatchRefused, match=r"cannot be recomputed .* give loaders and losses a torch.Generator"):
        train(Threads(2, debug=True), [gate], torch.randn(6, 8))
