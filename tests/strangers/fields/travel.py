"""What travels between gates: trees, views, integers, constants."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.strangers.entry import CLASSES, TIME, WIDTH, WORDS, Entry, floats, words
from tests.strangers.parts import Apply, around, flat, head, linear


class Tree(nn.Module):
    """Makes a dict of tuples, None, a flag and a mask out of a dict of words and floats."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)

    def forward(self, given: dict[str, Any]) -> dict[str, Any]:
        tokens, shift = given["pair"]
        return {"x": (self.embed(tokens), [shift]), "nothing": None, "flag": True, "mask": given["mask"]}


class OfTree(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH, CLASSES)

    def forward(self, given: dict[str, Any]) -> Any:
        x, (shift,) = given["x"]
        assert given["flag"] is True
        return self.read((x * given["mask"].unsqueeze(-1)).sum(1) + shift)


class Overlapping(nn.Module):
    """Its outputs are views of one tensor, and overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, 12)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.linear(x)
        return y[:, :8], y[:, 4:]


class Product(nn.Module):
    """Writes into one of its inputs, a clone of it or not."""

    def __init__(self, *, clones: bool) -> None:
        super().__init__()
        self.clones = clones
        self.read = nn.Linear(WIDTH, CLASSES)

    def forward(self, given: tuple[Tensor, Tensor]) -> Any:
        one, two = given
        one = one.clone() if self.clones else one
        one.relu_()
        return self.read(one * two)


class Expanded(nn.Module):
    """One output is a weight, expanded to the size of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, WIDTH))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, self.weight.expand(len(x), WIDTH)


class Written(nn.Module):
    """Writes into its own output before it goes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        y = self.linear(x)
        y[:, :2] = 0
        return y.add_(1)


class Masked(nn.Module):
    """Takes floats and a float mask that needs no gradient, and passes both on."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, mask = given
        return self.linear(x).tanh() * mask, mask


class Skips(nn.Module):
    """Passes its input on beside what it made of it, for three uses further on."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Any:
        y = self.a(x).relu()
        return self.b(y) * y + self.c(y) + y


class Detached(nn.Module):
    """Stops the gradient of one of its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.linear(x)
        return {"one": y.tanh(), "two": y.detach(), "best": y.argmax(1), "level": y.mean().detach()}


class OfDetached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH, CLASSES)

    def forward(self, given: dict[str, Any]) -> Any:
        y = self.read(given["one"] - 0.1 * given["two"]) * (1 + given["level"] ** 2)
        return y + 0.1 * given["best"].unsqueeze(1)


def tree(size: int) -> dict[str, Any]:
    return {
        "pair": (torch.randint(WORDS, (size, TIME)), torch.randn(size, WIDTH)),
        "mask": torch.rand(size, TIME) > 0.5,
    }


def with_mask(size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(size, WIDTH), (torch.rand(size, WIDTH) > 0.3).float()


def twice(x: Tensor) -> list[Tensor]:
    return [x, x]


def weighted(given: list[Tensor]) -> Tensor:
    return given[0] * 2 + given[1] * 3


def product(given: tuple[Tensor, Tensor]) -> Tensor:
    return given[0] * given[1]


def first(given: tuple[Tensor, Any]) -> Tensor:
    return given[0]


def with_best(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, x.argmax(1)


ENTRIES = {
    "tree of words, floats, None and flags": Entry(lambda: [Tree(), OfTree()], tree),
    "overlapping views": Entry(lambda: [Overlapping(), Product(clones=True)]),
    "overlapping views, one written": Entry(
        lambda: [Overlapping(), Product(clones=False)],
        refused="writes into its input, parts of which share memory",
        whole=False,
    ),
    "one tensor twice": Entry(lambda: [linear(), Apply(twice), Apply(weighted), head()]),
    "expanded weight": Entry(lambda: [Expanded(), Apply(product), head()]),
    "output written before it goes": Entry(lambda: [Written(), Written(), head()]),
    "activations in place at the beginning": Entry(
        lambda: [
            nn.Sequential(nn.ReLU(inplace=True), nn.Linear(WIDTH, WIDTH)),
            nn.Sequential(nn.Hardtanh(inplace=True), nn.Dropout(0.3, inplace=True)),
            nn.Sequential(nn.ReLU(inplace=True), head()),
        ]
    ),
    "mask of floats": Entry(lambda: [Masked(), Masked(), Apply(first), head()], with_mask),
    "skips with three uses": Entry(lambda: [Skips(), Skips(), head()]),
    "outputs whose gradient stops": Entry(lambda: [Detached(), OfDetached()]),
    "integers that nobody uses": Entry(lambda: [linear(), Apply(with_best), Apply(first), head()]),
    "words alone": Entry(lambda: [nn.Identity(), nn.Embedding(WORDS, WIDTH), flat(TIME * WIDTH)], words(TIME)),
    "double, then half, then single": Entry(
        lambda: [
            nn.Linear(WIDTH, WIDTH).double(),
            Apply(torch.Tensor.bfloat16),
            nn.Linear(WIDTH, WIDTH).bfloat16(),
            Apply(torch.Tensor.float),
            head(),
        ],
        floats(WIDTH, dtype=torch.double),
    ),
    "batches of one": Entry(lambda: around(linear()), sizes=(1,) * 7),
    "nothing but noise": Entry(
        lambda: [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SELU(), nn.AlphaDropout(0.2)), nn.RReLU(), head()]
    ),
}
