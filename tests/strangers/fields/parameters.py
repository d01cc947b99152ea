"""Parameters that are shared, unused, frozen, listed, or of other types."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adagrad, Adam, Adamax, AdamW, Optimizer, RMSprop

from tests.strangers.entry import BATCH, CLASSES, WIDTH, Chain, Entry, floats
from tests.strangers.parts import around, head, linear


class TiedByView(nn.Module):
    """The decoder's weight is a view of the encoder's storage."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(WIDTH, 5), nn.Linear(5, WIDTH)
        self.decode.weight = nn.Parameter(self.encode.weight.data.t())

    def forward(self, x: Tensor) -> Any:
        return self.decode(self.encode(x).tanh())


class TiedTwice(nn.Module):
    """An autoencoder with one weight, and one bias, under two names each."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.decode.weight, self.decode.bias = self.encode.weight, self.encode.bias

    def forward(self, x: Tensor) -> Any:
        return self.decode(self.encode(x).tanh())


class Thrice(nn.Module):
    """One module in three places."""

    def __init__(self) -> None:
        super().__init__()
        shared = nn.Linear(WIDTH, WIDTH)
        self.first = nn.Sequential(shared, nn.Tanh(), shared)
        self.second = shared

    def forward(self, x: Tensor) -> Any:
        return self.second(self.first(x))


class InList(nn.Module):
    """Reaches its parameter through a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))
        self.all = [self.weight]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.all[0]


class Unregistered(nn.Module):
    """Has layers in a plain list, which no optimizer of a plain loop gets either."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(WIDTH, WIDTH) for _ in range(2)]
        self.scale = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        return x * self.scale


class Containers(nn.Module):
    """Parameters in torch's own lists and dicts, some of them numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ParameterList([torch.ones(WIDTH), torch.tensor(0.5)])
        self.named = nn.ParameterDict({"shift": torch.zeros(WIDTH), "unused": torch.ones(2)})

    def forward(self, x: Tensor) -> Any:
        return x * self.scales[0] * self.scales[1] + self.named["shift"]


class Layouts(nn.Module):
    """Weights whose gradients come transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.randn(WIDTH, WIDTH).t() * 0.3)
        self.two = nn.Parameter(torch.randn(2, WIDTH, WIDTH) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bi,kij->bj", (x @ self.one).tanh(), self.two.permute(0, 2, 1))


class Halves(nn.Module):
    """Computes in bfloat16, inside a network that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH).bfloat16()

    def forward(self, x: Tensor) -> Any:
        return self.linear(x.bfloat16()).float()


class Heads(nn.Module):
    """Uses one of its two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.used(x)


class Unflattened(nn.Module):
    """Keeps one flat parameter, and reads its weights as views of it."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Parameter(torch.randn(WIDTH * WIDTH + WIDTH) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.flat.split([WIDTH * WIDTH, WIDTH])  # type: ignore[no-untyped-call]
        return functional.linear(x, weight.view(WIDTH, WIDTH), bias)


class Constrained(nn.Module):
    """Writes into its weight in each forward, as a bound."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.clamp_(0, 0.7)
        return x * self.weight


def half() -> Chain:
    made = nn.Sequential(nn.Linear(WIDTH, 16), nn.ReLU(), nn.Linear(16, WIDTH))
    return [made.bfloat16(), head().bfloat16()]


def of_half(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output.float(), target)


def in_half(make: Callable[..., Optimizer]) -> Entry:
    return Entry(half, floats(WIDTH, dtype=torch.bfloat16), loss=of_half, optimizer=make)


def grouped(parameters: list[nn.Parameter]) -> Optimizer:
    """Weights and biases apart."""
    groups = [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": 0.2, "lr": 0.02},
        {"params": [each for each in parameters if each.ndim <= 1], "lr": 0.005, "betas": (0.8, 0.95)},
    ]
    return AdamW([group for group in groups if group["params"]], lr=0.01)


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(requires_grad=False)


def partly() -> Chain:
    stem = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, WIDTH))
    frozen(stem[0])
    return [stem, head()]


class Cut(nn.Module):
    """Bounds its weight where a batch is small, which none of the first ones is.

    Args:
        bound: how.
    """

    def __init__(self, bound: Callable[[nn.Linear], object]) -> None:
        super().__init__()
        self.linear, self.bound = nn.Linear(WIDTH, WIDTH), bound

    def forward(self, x: Tensor) -> Any:
        if self.training and len(x) < BATCH:
            self.bound(self.linear)
        return self.linear(x)


def assigned(linear: nn.Linear) -> None:
    linear.weight.data = linear.weight.data.clamp(-0.1, 0.1)


def replaced(linear: nn.Linear) -> None:
    linear.weight = nn.Parameter(linear.weight.detach().clamp(-0.1, 0.1))


ENTRIES = {
    "assigned late by .data": Entry(lambda: around(Cut(assigned)), refused="its own weights"),
    "replaced late": Entry(lambda: around(Cut(replaced)), refused="its own weights"),
    "tied by a view": Entry(lambda: around(TiedByView())),
    "tied under two names": Entry(lambda: around(TiedTwice())),
    "one module in three places": Entry(lambda: around(Thrice())),
    "reached through a list": Entry(lambda: around(InList()), refused="reference of its own|list"),
    "layers in a list that nobody trains": Entry(lambda: around(Unregistered())),
    "torch's lists and dicts of parameters": Entry(lambda: around(Containers())),
    "views of one flat parameter": Entry(lambda: around(Unflattened())),
    "written in the forward": Entry(lambda: around(Constrained()), refused="own weights"),
    "transposed gradients": Entry(lambda: around(Layouts())),
    "transposed gradients, clipped": Entry(lambda: around(Layouts()), max_norm=0.05),
    "groups of weights and biases": Entry(lambda: around(nn.LayerNorm(WIDTH)), optimizer=grouped),
    "unused head": Entry(lambda: [linear(), Heads()], optimizer=partial(AdamW, lr=0.01)),
    "frozen in part": Entry(partly),
    "frozen in the middle": Entry(lambda: around(frozen(nn.Linear(WIDTH, WIDTH)))),
    "frozen first": Entry(lambda: [frozen(linear()), linear(), head()]),
    "without width": Entry(lambda: [nn.Linear(WIDTH, 0), nn.Linear(0, WIDTH), head()]),
    "one layer in bfloat16": Entry(lambda: around(Halves())),
    "bfloat16, SGD": in_half(partial(SGD, lr=0.05)),
    "bfloat16, momentum": in_half(partial(SGD, lr=0.05, momentum=0.9, weight_decay=0.01)),
    "bfloat16, AdamW": in_half(partial(AdamW, lr=0.01)),
    "bfloat16, AdamW, one by one": in_half(partial(AdamW, lr=0.01, foreach=False)),
    "bfloat16, RMSprop": in_half(partial(RMSprop, lr=0.01)),
    "bfloat16, Adagrad": in_half(partial(Adagrad, lr=0.01)),
    "bfloat16, Adamax": in_half(partial(Adamax, lr=0.01)),
    "uphill": Entry(lambda: around(linear()), optimizer=partial(Adam, lr=0.01, maximize=True)),
}
