"""Networks that keep something from step to step, or from batch to batch."""

import copy
import random
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.optim import RMSprop

from tests.strangers.entry import BATCH, TIME, WIDTH, Chain, Entry, floats
from tests.strangers.parts import Apply, head, mean

EVEN = (BATCH,) * 6
"""Batches of one size, where a state is carried from one to the next."""


class Carried(nn.Module):
    """Carries its hidden state to the next batch, in a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.rnn(x)[0][:, -1]  # type: ignore[no-any-return]
        y, hidden = self.rnn(x, self.hidden)
        self.hidden = hidden.detach()
        return y[:, -1]  # type: ignore[no-any-return]


class CarriedInBuffers(nn.Module):
    """Carries the state of an LSTM in buffers."""

    hidden: Tensor
    cell: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.register_buffer("hidden", torch.zeros(1, BATCH, WIDTH))
        self.register_buffer("cell", torch.zeros(1, BATCH, WIDTH))

    def forward(self, x: Tensor) -> Any:
        y, (hidden, cell) = self.rnn(x, (self.hidden, self.cell))
        if self.training:
            self.hidden, self.cell = hidden.detach(), cell.detach()
        return y[:, -1]


class CarriedInPlace(CarriedInBuffers):
    """The same, written into the buffers."""

    def forward(self, x: Tensor) -> Any:
        y, (hidden, cell) = self.rnn(x, (self.hidden.clone(), self.cell.clone()))
        if self.training:
            self.hidden.copy_(hidden.detach())
            self.cell.copy_(cell.detach())
        return y[:, -1]


class ResetNowAndThen(Carried):
    """Counts batches, and forgets its state at every third."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            if self.batches % 3 == 0:
                self.hidden = None
            self.batches += 1
        return super().forward(x)


class Zoneout(nn.Module):
    """A cell in a loop, some of whose states stay as they were at random."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        hidden = cell = torch.zeros(len(x), WIDTH)
        for step in x.unbind(1):
            new, cell = self.cell(step, (hidden, cell))
            keep = torch.rand_like(hidden) < 0.1 if self.training else torch.zeros_like(hidden).bool()
            hidden = torch.where(keep, hidden, new)
        return hidden


class Packed(nn.Module):
    """Packs sequences of unequal lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, WIDTH, batch_first=True, bidirectional=True)

    def forward(self, given: tuple[Tensor, Tensor]) -> Tensor:
        x, lengths = given
        _, (hidden, _) = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        return torch.cat([*hidden], 1)


class Reservoir(nn.Module):
    """A random recurrence that is never trained, and a trained read-out."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(WIDTH, 16, batch_first=True).requires_grad_(requires_grad=False)
        self.read = nn.Linear(16, WIDTH)

    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            states, _ = self.rnn(x)
        return self.read(states[:, -1])


class Forced(nn.Module):
    """Feeds itself its own output or the truth, by Python's coin: teacher forcing."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(WIDTH, WIDTH)
        self.read = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        hidden, given = torch.zeros(len(x), WIDTH), x[:, 0]
        for step in range(1, TIME):
            hidden = self.cell(given, hidden)
            given = x[:, step] if self.training and random.random() < 0.5 else self.read(hidden)
        return hidden


class KeepsCopy(nn.Module):
    """Deep-copies its cell at each forward, to unroll it with a state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNNCell(WIDTH, WIDTH)
        self.start = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        frozen = copy.deepcopy(self.cell).requires_grad_(requires_grad=False)
        hidden = self.start.expand(len(x), -1)
        for step in x.unbind(1):
            hidden = self.cell(step, hidden) - 0.1 * frozen(step, hidden)
        return hidden


def outputs(given: tuple[Tensor, Any]) -> Tensor:
    return given[0]


def last_state(given: tuple[Tensor, tuple[Tensor, Tensor]]) -> Tensor:
    return given[1][0][-1]


def of_lengths(size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(size, TIME, WIDTH), torch.randint(1, TIME + 1, (size,))


def before_head(first: nn.Module, width: int = WIDTH) -> Chain:
    return [first, head(width)]


series = floats(TIME, WIDTH)

ENTRIES = {
    "last state of an LSTM": Entry(
        lambda: [nn.LSTM(WIDTH, WIDTH, 2, batch_first=True, dropout=0.2), Apply(last_state), head()], series
    ),
    "state carried in an attribute": Entry(lambda: before_head(Carried()), series, sizes=EVEN),
    "state carried in buffers": Entry(lambda: before_head(CarriedInBuffers()), series, sizes=EVEN, in_turn=True),
    "state carried in buffers, in place": Entry(
        lambda: before_head(CarriedInPlace()), series, sizes=EVEN, in_turn=True
    ),
    "state forgotten at every third batch": Entry(lambda: before_head(ResetNowAndThen()), series, sizes=EVEN),
    "zoneout in a loop": Entry(lambda: before_head(Zoneout()), series, optimizer=partial(RMSprop, lr=0.01)),
    "packed sequences": Entry(lambda: before_head(Packed(), 2 * WIDTH), of_lengths),
    "reservoir that is never trained": Entry(lambda: before_head(Reservoir()), series),
    "teacher forcing": Entry(lambda: before_head(Forced()), series, coin=True),
    "copy of itself at each forward": Entry(lambda: before_head(KeepsCopy()), series),
    "two stacked recurrences": Entry(
        lambda: [nn.GRU(WIDTH, WIDTH, batch_first=True), Apply(outputs), nn.RNN(WIDTH, WIDTH), Apply(outputs), mean()],
        series,
    ),
}
