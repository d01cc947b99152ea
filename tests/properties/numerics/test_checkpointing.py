"""A checkpointed block is computed again with the weights, buffers and random numbers of its own batch."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.checkpoint import checkpoint

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Threads
from tests.properties.numerics.loops import (
    SEED,
    Batches,
    Recorded,
    Recorder,
    assert_same_tensors,
    cross_entropy,
    one_thread,
    train_as_network,
    train_plainly,
)

pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")  # in evaluation

LR = 0.05


class Block(nn.Module):
    """A residual block whose inside is checkpointed, or not."""

    def __init__(self, reentrant: bool | None, *, random: bool = False) -> None:
        super().__init__()
        extra = [nn.BatchNorm1d(8), nn.Dropout(0.3)] if random else []
        self.inside = nn.Sequential(nn.Linear(8, 8), *extra, nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        inside: Tensor
        if self.reentrant is None:
            inside = self.inside(x)
            return x + inside
        inside = checkpoint(self.inside, x, use_reentrant=self.reentrant)
        return x + inside


class Now(nn.Module):
    """Multiplies by its weight in a backward of its own, as it stands then."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((8,), 0.7))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = Multiplied.apply(x, self.weight, self)  # type: ignore[no-untyped-call]
        return result


class Multiplied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, module: Now) -> Tensor:
        ctx.x, ctx.module = x, module
        return x * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        return gradient * ctx.module.weight, (gradient * ctx.x).sum(0), None


KINDS: dict[str, Callable[[], nn.Module]] = {
    "not reentrant": partial(Block, False),
    "reentrant": partial(Block, True),
    "not reentrant, random": partial(Block, False, random=True),
    "reentrant, random": partial(Block, True, random=True),
    "of one's own": Now,
}


def modules(kind: Callable[[], nn.Module]) -> list[nn.Module]:
    torch.manual_seed(SEED)
    return [nn.Sequential(nn.Linear(6, 8), kind()), nn.Sequential(kind(), nn.Linear(8, 3))]


def batches(num: int) -> Batches:
    torch.manual_seed(SEED)
    return [(torch.randn(5, 6), torch.randint(3, (5,))) for _ in range(num)]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("activations", ["stashed", "recomputed"])
def test_a_checkpointed_gate_learns_what_a_plain_loop_does(
    make_engine: Callable[[], Engine], kind: Callable[[], nn.Module], activations: Literal["stashed", "recomputed"]
) -> None:
    plain = nn.Sequential(*modules(kind))
    torch.manual_seed(SEED)
    train_plainly(plain, partial(SGD, lr=LR), batches(8), epochs=1)
    gates = [
        ak.Gate(f"gate {n}", module, partial(SGD, lr=LR), activations=activations)
        for n, module in enumerate(modules(kind))
    ]
    torch.manual_seed(SEED)
    ours = train_as_network(gates, make_engine(), batches(8), in_flight=1)
    if activations == "stashed":  # a gate that recomputes throws away what its second forward leaves in buffers
        assert_same_tensors([*ours.model.buffers()], [*plain.buffers()])
    assert_same_tensors([*ours.model.parameters()], [*plain.parameters()])


def expected(each: Recorded, module: nn.Module, x: Tensor, target: Tensor) -> list[Tensor]:
    """Return the gradients of a gate that is the whole network, at the weights of the forward."""
    weights = {
        name: then.detach().requires_grad_()
        for (name, _), then in zip(module.named_parameters(), each.then, strict=True)
    }
    value = cross_entropy(torch.func.functional_call(module, weights, (x,)), target)
    return list(torch.autograd.grad(value, list(weights.values())))


@pytest.mark.parametrize("reentrant", [False, True])
def test_every_gradient_belongs_to_the_weights_of_its_forward_on_threads(reentrant: bool) -> None:
    data, recorder = batches(500), Recorder()
    torch.manual_seed(SEED)
    module = nn.Sequential(nn.Linear(6, 8), Block(reentrant), Block(reentrant), nn.Linear(8, 3))
    gate = ak.Gate("whole", module, partial(SGD, lr=LR), recorder, computations=2)
    train_as_network([gate], Threads(2), data, in_flight=4)
    assert max(each.arrival.staleness for each in recorder.seen) > 0
    torch.manual_seed(SEED)
    plain = nn.Sequential(nn.Linear(6, 8), Block(None), Block(None), nn.Linear(8, 3))
    with one_thread():
        for each, (x, target) in zip(recorder.seen, data, strict=True):
            assert_same_tensors(each.gradients, expected(each, plain, x, target))
