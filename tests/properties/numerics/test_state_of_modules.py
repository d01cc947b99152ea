"""What a module keeps besides its weights is as in a plain loop: modes, buffers, attributes, captured objects."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Threads
from tests.properties.numerics.loops import (
    SEED,
    Batches,
    assert_same,
    cross_entropy,
    one_thread,
    train_as_network,
    train_plainly,
)

make_optimizer = partial(SGD, lr=0.05, momentum=0.9)


def batches(num: int = 8) -> Batches:
    torch.manual_seed(SEED)
    return [(torch.randn(6, 8), torch.randint(3, (6,))) for _ in range(num)]


class Captures(nn.Module):
    """Functions in attributes and hooks that captured the module."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
        self.scale = nn.Parameter(torch.ones(8))
        self.block = lambda x: self.norm(self.linear(x)).relu()
        self.steps = {"last": [partial(lambda own, x: x + own.scale, self)]}
        self.norm.register_forward_hook(lambda module, given, output: output * self.scale)

        def default(x: Tensor, own: "Captures" = self, *, named: "Captures" = self) -> Tensor:
            return x - own.scale.detach() * named.scale

        self.default = default

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.default(self.steps["last"][0](self.block(x)))  # type: ignore[no-untyped-call]
        return result


class Averaged(nn.Module):
    """A frozen target that follows the weights, as in BYOL and MoCo."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.online = nn.Linear(8, 8)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.how = how

    @torch.no_grad()
    def follow(self) -> None:
        for own, target in zip(self.online.parameters(), self.target.parameters(), strict=True):
            if self.how == "in place":
                target.mul_(0.9).add_(own, alpha=0.1)
            elif self.how == "in place by data":
                target.data.mul_(0.9).add_(own.data, alpha=0.1)
            else:
                target.data = target.data * 0.9 + own.data * 0.1

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.follow()
        result: Tensor = self.online(x) + self.target(x)
        return result


class Carries(nn.Module):
    """The hidden state of the batch before."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y, hidden = self.rnn(x[:, None], self.hidden)
        if self.training:
            self.hidden = hidden.detach()
        result: Tensor = y[:, 0]
        return result


class Counts(nn.Module):
    """A plain counter that anneals something."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.state = nn.Linear(8, 8), {"count": 0}

    def forward(self, x: Tensor) -> Tensor:
        self.state["count"] += self.training
        result: Tensor = self.linear(x) / (1 + self.state["count"])
        return result


class Noisy(nn.Module):
    """A random generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.generator = nn.Linear(8, 8), torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(x.shape, generator=self.generator) if self.training else 0
        result: Tensor = self.linear(x + noise)
        return result


class Cached(nn.Module):
    """Buffers that begin as None, change their shapes, and are no means."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.mean: Tensor | None
        self.seen: Tensor
        self.mask: Tensor
        self.register_buffer("mean", None)
        self.register_buffer("seen", torch.zeros(0))
        self.register_buffer("mask", torch.full((8, 8), -torch.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            mean = x.detach().mean(0)
            self.mean = mean if self.mean is None else (self.mean + mean) / 2
            self.seen = torch.cat([self.seen, x.detach()[:, 0]])[-20:]
        weights = (self.mask + self.linear.weight).softmax(1)
        result: Tensor = self.linear(x) @ weights + (0 if self.mean is None else self.mean) + self.seen.sum()
        return result


class KeepsNormInEvaluation(nn.Module):
    """Overrides `train`."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)

    def train(self, mode: bool = True) -> "KeepsNormInEvaluation":
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.linear(x))
        return result


KINDS: dict[str, Callable[[], nn.Module]] = {
    "captures": Captures,
    "frozen, in place": partial(Averaged, "in place"),
    "frozen, in place by data": partial(Averaged, "in place by data"),
    "frozen, new data": partial(Averaged, "new data"),
    "hidden state": Carries,
    "counter": Counts,
    "generator": Noisy,
    "buffers": Cached,
    "train overridden": KeepsNormInEvaluation,
}


def modules(kind: Callable[[], nn.Module]) -> list[nn.Module]:
    torch.manual_seed(SEED)
    return [nn.Sequential(nn.Linear(8, 8), nn.Tanh()), kind(), nn.Linear(8, 3)]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("activations", ["stashed", "recomputed"])
@pytest.mark.parametrize("computations", [1, 2])
def test_state_is_as_in_a_plain_loop(
    make_engine: Callable[[], Engine],
    kind: Callable[[], nn.Module],
    activations: Literal["stashed", "recomputed"],
    computations: int,
) -> None:
    plain = nn.Sequential(*modules(kind))
    train_plainly(plain, make_optimizer, batches(), epochs=2)
    given = modules(kind)
    before = copy.deepcopy([each.state_dict() for each in given])
    gates = [
        ak.Gate(f"gate {n}", module, make_optimizer, activations=activations, computations=computations)
        for n, module in enumerate(given)
    ]
    ours = train_as_network(gates, make_engine(), batches(), epochs=2)
    assert_same(ours.model, plain)
    with torch.no_grad(), one_thread():
        plain.eval()
        for (x, _), output in zip(batches(), ours.outputs, strict=True):
            assert torch.equal(output, plain(x))
    for module, state in zip(given, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("kind", ["hidden state", "counter"])
def test_gates_with_state_of_their_own_compute_one_batch_at_a_time(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    first = modules(KINDS[kind])[1]
    gates = [ak.Gate("first", first, make_optimizer, computations=2), ak.Gate("head", nn.Linear(8, 3), make_optimizer)]
    trained = train_as_network(gates, Threads(2), batches(40), in_flight=6)
    assert trained.gates[0].alone
    assert not trained.gates[1].alone
    assert f"gate 'first' computes one batch at a time: {trained.gates[0].alone}" in caplog.text


def test_parts_in_evaluation_stay_there_while_the_rest_trains(engine: Engine) -> None:
    def make() -> list[nn.Module]:
        torch.manual_seed(SEED)
        frozen = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        frozen[1].eval()
        frozen[2].eval()
        return [frozen, nn.Linear(8, 3)]

    plain = nn.Sequential(*make())
    optimizer = make_optimizer(plain.parameters())
    for x, target in batches():
        optimizer.zero_grad()
        cross_entropy(plain(x), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    gates = [ak.Gate(f"gate {n}", module, make_optimizer) for n, module in enumerate(make())]
    assert_same(train_as_network(gates, engine, batches()).model, plain)


def test_a_model_that_is_all_in_evaluation_is_trained_in_training_mode(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    plain = nn.Sequential(*modules(partial(nn.BatchNorm1d, 8)))
    train_plainly(plain, make_optimizer, batches(), epochs=1)
    model = nn.Sequential(*modules(partial(nn.BatchNorm1d, 8))).eval()
    gates = ak.split(model, at=["1", "2"], optimizer=make_optimizer)
    assert_same(train_as_network(gates, engine, batches()).model, plain)
    assert "all of the model is in evaluation mode" in caplog.text


def test_buffers_of_new_shapes_are_saved_and_resumed(tmp_path: Path) -> None:
    def gates() -> list[ak.Gate]:
        return [ak.Gate(f"gate {n}", module, make_optimizer) for n, module in enumerate(modules(Cached))]

    train = ak.TrainingSentinel("train", batches, cross_entropy, epochs=2, in_flight=1)
    with ak.launch(gates()) as network:
        network.attach(train)
        next(network.watch())
        network.save(tmp_path)
    with ak.launch(gates(), resume=tmp_path) as network:
        network.attach(train)
        list(network.watch())
        ours = network.model()
    plain = nn.Sequential(*modules(Cached))
    train_plainly(plain, make_optimizer, batches(), epochs=2)
    assert_same(ours, plain)


class WritesLater(nn.Linear):
    """Writes into its weights by .data from its third forward on."""

    def __init__(self) -> None:
        super().__init__(8, 8)
        self.count: Tensor
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        self.count += self.training
        if self.count > 2:
            self.weight.data.clamp_(-0.1, 0.1)
        return super().forward(x)


def test_a_module_that_writes_into_its_weights_is_refused_however_late_it_begins(engine: Engine) -> None:
    gates = [ak.Gate("late", WritesLater(), make_optimizer), ak.Gate("head", nn.Linear(8, 3), make_optimizer)]
    with pytest.raises(ak.BatchRefused, match=r"gate 'late' .* the module writes into its own weights"):
        train_as_network(gates, engine, batches())


outside: dict[str, Any] = {"module": None}
module_outside = nn.Linear(8, 8)


def test_a_hook_that_uses_a_module_by_a_global_variable_is_refused() -> None:
    module_outside.register_forward_hook(lambda module, given, output: output * module_outside.bias)
    expected = r"gate 'hooked': .* through the global variable 'module_outside'.* use the module that"
    with pytest.raises(ak.WiringError, match=expected):
        ak.Gate("hooked", module_outside, make_optimizer)


class UsesOutside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 3)
        outside["module"] = self

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = outside["module"].linear(x)
        return result


def test_a_module_that_is_found_elsewhere_is_refused(engine: Engine) -> None:
    with pytest.raises(ak.BatchRefused, match=r"through a reference of its own \(in a list, or a global variable\)"):
        train_as_network([ak.Gate("found", UsesOutside(), make_optimizer)], engine, batches())


class Propagates(nn.Linear):
    def forward(self, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, edges = given
        return torch.sparse.mm(edges, super().forward(x)), edges


class Last(Propagates):
    def forward(self, given: tuple[Tensor, Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(given)[0]


@pytest.mark.parametrize("sparse", [Tensor.to_sparse_csr, Tensor.to_sparse_coo, Tensor.contiguous])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_inputs_that_need_no_gradient_pass_by(engine: Engine, sparse: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(SEED)
    edges = sparse((torch.rand(6, 6) < 0.5).float())
    data = [((x, edges), target) for x, target in batches()]

    def make() -> list[nn.Module]:
        torch.manual_seed(SEED)
        return [Propagates(8, 8), Propagates(8, 8), Last(8, 3)]

    plain = nn.Sequential(*make())
    train_plainly(plain, make_optimizer, data, epochs=1)
    gates = [ak.Gate(f"gate {n}", module, make_optimizer) for n, module in enumerate(make())]
    assert_same(train_as_network(gates, engine, data).model, plain)
