"""Buffers that are no means: caches, counters, flags, extremes, views."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.strangers.entry import TIME, WIDTH, Entry, floats
from tests.strangers.parts import around, head, linear, mean


class Begun(nn.Module):
    """Has a buffer that is None until the first batch."""

    mean: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", None)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        if self.training:
            now = x.detach().mean(0)
            self.mean = now if self.mean is None else 0.5 * self.mean + 0.5 * now
        return self.linear(x if self.mean is None else x - self.mean)


class Grown(nn.Module):
    """Makes its buffer anew for a longer batch, of the shape of that batch."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("mask", torch.zeros(2, 2), persistent=False)

    def forward(self, x: Tensor) -> Any:
        if x.shape[1] != len(self.mask):
            self.mask = torch.ones(x.shape[1], x.shape[1]).tril() / x.shape[1]
        return self.mask @ self.linear(x)


class Remembered(nn.Module):
    """Appends what it sees to a buffer, and forgets what is old."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("seen", torch.empty(0, WIDTH))

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.seen = torch.cat([self.seen, x.detach()])[-10:]
        return self.linear(x - self.seen.mean(0) if len(self.seen) else x)


class Counted(nn.Module):
    """Anneals by a counter in a buffer, and begins once by a flag."""

    steps: Tensor
    begun: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("begun", torch.tensor(data=False))
        self.register_buffer("shift", torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            if not self.begun:
                self.shift.copy_(x.detach().mean(0))
                self.begun.fill_(value=True)
            self.steps += 1
        return (x - self.shift) / (1 + 0.1 * self.steps)


class Extremes(nn.Module):
    """Keeps the least and the most that it has seen, from infinity on."""

    least: Tensor
    most: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("least", torch.full((WIDTH,), float("inf")))
        self.register_buffer("most", torch.full((WIDTH,), float("-inf")))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.least = torch.minimum(self.least, x.detach().amin(0))
            self.most = torch.maximum(self.most, x.detach().amax(0))
        return (x - self.least) / (self.most - self.least + 1e-3)


class Owner(nn.Module):
    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


class SharedTable(nn.Module):
    """Two parts hold one buffer, and a third holds a view of it; one of them writes."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.zeros(WIDTH)
        self.one, self.two, self.first = Owner(table), Owner(table), Owner(table[:1])

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.one.table.add_(0.1 * x.detach().mean(0))
        return self.two(self.one(x)) + self.first(x)


class SharedByTwo(nn.Module):
    """Two parts hold one buffer; one of them writes."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.zeros(WIDTH)
        self.one, self.two = Owner(table), Owner(table)

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.one.table.add_(0.1 * x.detach().mean(0))
        return self.two(self.one(x))


class Relative(nn.Module):
    """Rotates a buffer of bits, and reads from it which features to leave out."""

    bits: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bits", torch.arange(WIDTH) % 3 > 0)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.bits = self.bits.roll(1)
        return x * self.bits


class Differentiable(nn.Module):
    """Keeps in a buffer what it made, and lets the loss of this batch through it: detached after use."""

    last: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("last", torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Any:
        y = self.linear(x)
        if self.training:
            now = 0.9 * self.last + 0.1 * y.mean(0)
            self.last = now.detach()
            return y - now
        return y - self.last


class AddedLater(nn.Module):
    """Registers a buffer at its first forward."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        if not hasattr(self, "scale"):
            self.register_buffer("scale", torch.full((WIDTH,), 0.5))
        return self.linear(x) * self.scale


def of_lengths(size: int) -> Tensor:
    return torch.randn(size, 2 + int(torch.randint(6, ())), WIDTH)


series = floats(TIME, WIDTH)

ENTRIES = {
    "None until the first batch": Entry(lambda: around(Begun()), in_turn=True),
    "mask made anew for each length": Entry(lambda: [linear(), Grown(), mean()], of_lengths, in_turn=True),
    "what was seen, appended": Entry(lambda: around(Remembered()), in_turn=True),
    "counter and flag": Entry(lambda: around(Counted()), in_turn=True),
    "extremes that begin at infinity": Entry(lambda: around(Extremes()), in_turn=True),
    "one buffer in two parts": Entry(lambda: around(SharedByTwo()), in_turn=True),
    "one buffer in two parts, and a view": Entry(lambda: around(SharedTable()), refused="buffer"),
    "bits that rotate": Entry(lambda: around(Relative()), in_turn=True),
    "mean that the gradient goes through": Entry(lambda: around(Differentiable()), in_turn=True),
    "registered at the first forward": Entry(lambda: [AddedLater(), head()]),
}
