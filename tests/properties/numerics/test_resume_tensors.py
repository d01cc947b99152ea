"""A network goes on after a return as if there had been none, whatever its tensors are like: sparse, complex, laid out
otherwise, and what a gate remembers besides them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.testing import crash, wait_until
from tests.networks import stepped
from tests.properties.numerics.loops import assert_same_tensors
from tests.saving.saves import run_until

SGD = partial(optim.SGD, lr=0.1)
MOMENTUM = partial(optim.SGD, lr=0.1, momentum=0.9)


class Complex(nn.Module):
    """A linear layer with complex weights; yields the size of its results."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(4, 3, dtype=dtype))
        self.phase: Tensor
        self.register_buffer("phase", torch.exp(1j * torch.arange(3)).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.weight.dtype) @ self.weight * self.phase).abs().float()


class Graph(nn.Module):
    """Mixes samples along the edges of a graph, which it keeps."""

    def __init__(self, edges: Tensor, *, persistent: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.edges: Tensor
        self.register_buffer("edges", edges, persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.sparse.mm(self.edges, self.linear(x))
        return y


class Words(nn.Module):
    """An embedding with sparse gradients, the same word twice among them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.EmbeddingBag(9, 3, sparse=True, mode="sum")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.embed(x)
        return y


def images() -> nn.Module:
    """Convolutions in two orders of memory: sums over their gradients depend on it."""
    last = nn.Conv2d(24, 24, 3)
    layers = [nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), last, nn.Flatten(), nn.Linear(96, 3)]
    module: nn.Module = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    last.weight = nn.Parameter(last.weight.detach().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0))
    return module


def both() -> list[nn.Module]:
    return [nn.Sequential(nn.Linear(4, 8), nn.Tanh()), nn.Linear(8, 3)]


def edges() -> Tensor:
    return (torch.eye(5) + torch.diag(torch.full((4,), 0.5), 1)).to_sparse()


def numbers(generator: torch.Generator) -> Tensor:
    return torch.randn(5, 4, generator=generator)


def pixels(generator: torch.Generator) -> Tensor:
    return torch.randn(5, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last)


def words(generator: torch.Generator) -> Tensor:
    return torch.randint(0, 9, (5, 4), generator=generator)


pytestmark = pytest.mark.filterwarnings("ignore:Sparse CS. tensor support is in beta:UserWarning")

CASES: dict[str, tuple[Callable[[], list[nn.Module]], Callable[[torch.Generator], Tensor], dict[str, Any]]] = {
    "norm of the network": (both, numbers, {"optimizer": SGD, "max_norm": 0.1, "norm": "network"}),
    "channels last": (
        lambda: [images()],
        pixels,
        {"optimizer": MOMENTUM, "max_norm": 0.1, "accumulate": 4},
    ),
    "complex64": (lambda: [Complex(torch.complex64)], numbers, {"optimizer": partial(optim.Adam, lr=0.1)}),
    "complex128": (lambda: [Complex(torch.complex128)], numbers, {"optimizer": MOMENTUM, "accumulate": 4}),
    "edges": (lambda: [Graph(edges(), persistent=True)], numbers, {"optimizer": MOMENTUM}),
    "edges outside the state dict": (lambda: [Graph(edges(), persistent=False)], numbers, {"optimizer": MOMENTUM}),
    "edges by row": (lambda: [Graph(edges().to_sparse_csr(), persistent=True)], numbers, {"optimizer": MOMENTUM}),
    "edges by column": (lambda: [Graph(edges().to_sparse_csc(), persistent=True)], numbers, {"optimizer": MOMENTUM}),
    "sparse momentum": (lambda: [Words()], words, {"optimizer": MOMENTUM}),
    "sparse gradients, summed": (lambda: [Words()], words, {"optimizer": MOMENTUM, "accumulate": 4}),
    "sparse gradients, summed, Adam": (
        lambda: [Words()],
        words,
        {"optimizer": partial(optim.SparseAdam, lr=0.1), "accumulate": 4},
    ),
}

BATCHES = 24


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Callable[[], list[ak.Gate]], Callable[[], list[Any]]]:
    modules, make_x, settings = CASES[request.param]

    def gates() -> list[ak.Gate]:
        torch.manual_seed(4)
        return [ak.Gate(f"gate{number}", module, **settings) for number, module in enumerate(modules())]

    def batches() -> list[Any]:
        generator = torch.Generator().manual_seed(5)
        return [(make_x(generator), torch.randint(0, 3, (5,), generator=generator)) for _ in range(BATCHES)]

    return gates, batches


def described(batches: Callable[[], list[Any]], name: str = "train") -> ak.TrainingSentinel:
    return ak.TrainingSentinel(name, batches, cross_entropy, in_flight=1, epochs=1)


def dense(model: nn.Module) -> list[Tensor]:
    return [each.to_dense() for each in (*model.parameters(), *model.buffers())]


def test_training_goes_on_from_a_save(case: Any, tmp_path: Path) -> None:
    gates, batches = case
    with ak.launch(gates(), engine=stepped()) as network:
        network.attach(described(batches))
        list(network.watch())
        expected = dense(network.model())
    with ak.launch(gates(), engine=stepped()) as network:
        network.attach(described(batches))
        run_until(network, 10)
        network.save(tmp_path)
    with ak.launch(gates(), engine=stepped(), resume=tmp_path) as network:
        network.attach(described(batches))
        list(network.watch())
        assert_same_tensors(dense(network.model()), expected)


def test_what_a_network_gives_away_fits_its_gates(case: Any, engine: Engine) -> None:
    gates, batches = case
    with ak.launch(gates(), engine=engine) as network:
        network.attach(described(batches))
        list(network.watch())
        weights, expected = network.state_dict(), dense(network.model())
    with ak.launch(gates(), engine=stepped(), weights=weights) as network:
        assert_same_tensors(dense(network.model()), expected)


def test_training_goes_on_from_a_copy_after_a_crash(case: Any, make_engine: Callable[[], Engine]) -> None:
    gates, batches = case
    models = []
    for crashes in (False, True):
        often = ak.Supervision(copy_every=1, copy_share=1.0)  # no update is lost
        with ak.launch(gates(), engine=make_engine(), supervision=often) as network:
            network.attach(described(batches, "before"))
            list(network.watch())
            for number, gate in enumerate(network.status().gates if crashes else (), 1):
                crash(network, gate.name)
                wait_until(network, partial(restarted, network, gate.name, number), what="a restart")
            network.attach(described(batches, "after"))
            list(network.watch())
            models.append(dense(network.model()))
    assert_same_tensors(*models)


def restarted(network: ak.Network, gate: str, times: int) -> bool:
    status = network.status()
    return status.restarts == times and gate in [each.name for each in status.gates]
