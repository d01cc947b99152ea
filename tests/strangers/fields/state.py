"""State in plain attributes: counters, generators, caches, and what begins late."""

from collections import deque
from typing import Any

import torch
from torch import Tensor, nn

from tests.strangers.entry import BATCH, TIME, WIDTH, Entry, floats
from tests.strangers.parts import Apply, around, head, linear, mean


class Annealed(nn.Module):
    """Counts its batches of less than some size, and fades."""

    def __init__(self, below: int = BATCH + 1) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.below = below
        self.steps = 0

    def forward(self, x: Tensor) -> Any:
        if self.training and len(x) < self.below:
            self.steps += 1
        return self.linear(x) / (1 + 0.1 * self.steps)


class Alternating(nn.Module):
    """Takes its two branches in turns."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.turn = False

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.turn = not self.turn
        return self.branches[self.turn](x)


class OwnNumbers(nn.Module):
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Any:
        noise = torch.randn(x.shape, generator=self.generator) if self.training else 0
        return self.linear(x + 0.1 * noise)


class Later(nn.Module):
    """Begins to count at its eighth batch only, by a clock in a buffer."""

    clock: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("clock", torch.zeros((), dtype=torch.long))
        self.late = 0

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.clock += 1
            if self.clock > 7:
                self.late += 1
        return self.linear(x) * (1 + self.late)


class Recent(nn.Module):
    """Keeps the means of its last batches in a deque."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.recent: deque[Tensor] = deque(maxlen=3)

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.recent.append(x.detach().mean(0))
        return self.linear(x - sum(self.recent) / max(1, len(self.recent)))


class Cached(nn.Module):
    """Keeps masks by length in a dict: a cache, whose values never change."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.masks: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Any:
        length = x.shape[1]
        if length not in self.masks:
            self.masks[length] = torch.ones(length, length).tril() / length
        return self.masks[length] @ self.linear(x)


class Noted(nn.Module):
    """Notes figures of each batch for whoever asks, and does not use them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.latest: Tensor | None = None
        self.history: list[float] = []

    def forward(self, x: Tensor) -> Any:
        y = self.linear(x)
        self.latest = y.detach()
        self.history.append(float(self.latest.mean()))
        return y


class NotedWithGraph(nn.Module):
    """Leaves what it made on itself, graph and all, for the next part of the same gate to read."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.made: Tensor | None = None

    def forward(self, x: Tensor) -> Any:
        self.made = self.linear(x)
        return self.made.tanh()


class ReadsBack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = NotedWithGraph(), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        y = self.two(self.one(x))
        return y + self.one.made


class Frozen(nn.Module):
    """Thaws a layer after some batches, by `requires_grad_` in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = linear(), nn.Linear(WIDTH, WIDTH)
        self.steps = 0

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.steps += 1
            self.first.requires_grad_(requires_grad=self.steps > 3)
        return self.second(self.first(x))


def of_lengths(size: int) -> Tensor:
    return torch.randn(size, 2 + int(torch.randint(4, ())), WIDTH)


def doubled(x: Tensor) -> Tensor:
    return x * 2


series = floats(TIME, WIDTH)


ENTRIES = {
    "counter": Entry(lambda: around(Annealed())),
    "counter of small batches, which are late": Entry(lambda: around(Annealed(BATCH)), apart=False),
    "branches that take turns": Entry(lambda: around(Alternating())),
    "generator of its own": Entry(lambda: around(OwnNumbers())),
    "counter that begins late": Entry(lambda: around(Later())),
    "means in a deque": Entry(lambda: around(Recent())),
    "cache of masks": Entry(lambda: [Cached(), mean()], of_lengths),
    "figures for whoever asks": Entry(lambda: around(Noted())),
    "what a part made, read by another": Entry(lambda: [ReadsBack(), Apply(doubled), head()]),
    "layer that thaws": Entry(lambda: around(Frozen()), refused="requires_grad|frozen"),
}
