"""Weights of short types, complex ones and ones laid out otherwise step as in the plain loop, bit for bit."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn.utils import clip_grad_norm_

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.gate.backward import Graph
from akkordeon.gate.versions import Snapshot
from tests.properties.numerics.loops import assert_same, one_thread, train_as_network

OPTIMIZERS: dict[str, Any] = {
    "SGD": partial(optim.SGD, lr=0.05),
    "SGD with momentum": partial(optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True),
    "Adam": partial(optim.Adam, lr=0.01, eps=1e-3),
    "AdamW": partial(optim.AdamW, lr=0.01, eps=1e-3, amsgrad=True),
    "RMSprop": partial(optim.RMSprop, lr=0.01, eps=1e-3, momentum=0.5),
    "Adagrad": partial(optim.Adagrad, lr=0.01, eps=1e-3),
    "Adadelta": partial(optim.Adadelta, lr=1.0, eps=1e-3),
    "Adamax": partial(optim.Adamax, lr=0.01, eps=1e-3),
    "Rprop": partial(optim.Rprop, lr=0.01),
}


class Complex(nn.Module):
    """A linear layer with complex weights, and real ones that scale its results."""

    def __init__(self, into: int, out: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.2 * torch.randn(into, out, dtype=dtype))
        self.scale = nn.Parameter(torch.ones(out, dtype=dtype.to_real()))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.weight.dtype) @ self.weight) * self.scale


def short(dtype: torch.dtype) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)).to(dtype)


def complex_numbers(dtype: torch.dtype) -> nn.Module:
    return nn.Sequential(Complex(8, 16, dtype), Complex(16, 3, dtype))


def mixed() -> nn.Module:
    """Some weights are stepped in one call, and some one by one."""
    return nn.Sequential(nn.Linear(8, 16), _Cast(torch.bfloat16), nn.Linear(16, 3, dtype=torch.bfloat16))


class _Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


MODULES: dict[str, tuple[Callable[[], nn.Module], torch.dtype]] = {
    "bfloat16": (partial(short, torch.bfloat16), torch.bfloat16),
    "float16": (partial(short, torch.float16), torch.float16),
    "float64": (partial(short, torch.float64), torch.float64),
    "float32 and bfloat16": (mixed, torch.float32),
    "complex64": (partial(complex_numbers, torch.complex64), torch.float32),
    "complex128": (partial(complex_numbers, torch.complex128), torch.float64),
}


def loss(output: Tensor, target: Tensor) -> Tensor:
    parts = torch.view_as_real(output) if output.is_complex() else output
    return (parts.flatten(1)[:, : target.shape[1]].float() - target).square().mean()


def batches(make_x: Callable[[torch.Generator], Tensor], width: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return [(make_x(generator), torch.randn(6, width, generator=generator)) for _ in range(16)]


def plainly(model: nn.Module, make: Any, data: Any, max_norm: float | None) -> nn.Module:
    optimizer = make(list(model.parameters()))
    with one_thread():
        for x, target in data:
            optimizer.zero_grad()
            torch.autograd.backward(loss(model(x), target))
            if max_norm is not None:
                clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()
    return model


def made(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(2)
    return make()


@pytest.mark.parametrize("foreach", [None, False], ids=["foreach as torch chooses", "one by one"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("name", MODULES)
def test_a_gate_steps_as_a_plain_loop(name: str, optimizer: Any, foreach: bool | None, engine: Engine) -> None:
    (make, dtype), step = MODULES[name], partial(optimizer, foreach=foreach)
    max_norm = None if foreach is None else 0.1
    data = batches(lambda generator: torch.randn(6, 8, generator=generator).to(dtype))
    gate = ak.Gate("gate", made(make), step, max_norm=max_norm)
    trained = train_as_network([gate], engine, data, loss=loss)
    assert_same(trained.model, plainly(made(make), step, data, max_norm))


def channels_last() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten()]
    module: nn.Module = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def reversed_dimensions() -> nn.Module:
    first, second = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 24, 3)
    for layer in (first, second):
        layer.weight = nn.Parameter(layer.weight.detach().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0))
    return nn.Sequential(first, nn.ReLU(), second, nn.Flatten())


LAYOUTS = {"channels last": channels_last, "reversed": reversed_dimensions}


@pytest.mark.parametrize("optimizer", [*list(OPTIMIZERS)[:4], "Adadelta"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_clipping_equals_the_plain_loop_however_weights_are_laid_out(
    layout: str, optimizer: str, engine: Engine
) -> None:
    def images(generator: torch.Generator) -> Tensor:
        return torch.randn(6, 3, 9, 9, generator=generator).to(memory_format=torch.channels_last)

    data, make = batches(images, 30), LAYOUTS[layout]
    gate = ak.Gate("gate", made(make), OPTIMIZERS[optimizer], max_norm=0.1)
    trained = train_as_network([gate], engine, data, loss=loss)
    assert_same(trained.model, plainly(made(make), OPTIMIZERS[optimizer], data, 0.1))


def tensors_of_all_kinds() -> Iterator[Tensor]:
    yield torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    yield torch.randn(4, 3).T
    yield torch.randn(4, 3, 2).permute(2, 0, 1)
    yield torch.randn(1, 3, 1)
    yield torch.randn(())
    yield torch.randn(3, 2, dtype=torch.complex64)


def test_a_gradient_is_laid_out_as_a_grad_and_shares_no_memory() -> None:
    for tensor in tensors_of_all_kinds():
        weight = tensor.requires_grad_()
        given = torch.ones_like(weight).contiguous()  # which a sum would pass on as it is
        output = (weight + 0).contiguous() + torch.zeros_like(weight)
        (found,) = Graph((), (output,), Snapshot(0, (weight,), (weight,))).gradients([given]).of_weights
        torch.autograd.backward((weight + 0).contiguous() + torch.zeros_like(weight), given)
        assert found is not None
        assert weight.grad is not None
        assert found.stride() == weight.grad.stride() == weight.stride()
        assert torch.equal(found, weight.grad)
        assert found.untyped_storage().data_ptr() != given.untyped_storage().data_ptr()
