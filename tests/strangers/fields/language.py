"""Networks that read."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import Parameter
from torch.optim import SGD, Adagrad, AdamW, Optimizer, SparseAdam

from tests.strangers.entry import CLASSES, TIME, WIDTH, WORDS, Chain, Entry, labels, words
from tests.strangers.parts import Apply, flat, mean


class Causal(nn.Module):
    """Attention under a mask of -inf in a buffer."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.register_buffer("mask", torch.triu(torch.full((TIME, TIME), float("-inf")), 1))

    def forward(self, x: Tensor) -> Any:
        q, k, v = self.qkv(x).chunk(3, -1)
        return x + (q @ k.transpose(1, 2) / WIDTH**0.5 + self.mask).softmax(-1) @ v


class Rotary(nn.Module):
    """Rotates by position; the table of angles grows with the longest text so far."""

    cosines: Tensor
    sines: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.grow(2)

    def grow(self, length: int) -> None:
        angles = torch.arange(float(length))[:, None] / 10 ** torch.linspace(0, 1, WIDTH // 2)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Any:
        if x.shape[1] > len(self.cosines):
            self.grow(x.shape[1])
        one, two = x.chunk(2, -1)
        cosines, sines = self.cosines[: x.shape[1]], self.sines[: x.shape[1]]
        return self.linear(torch.cat([one * cosines - two * sines, one * sines + two * cosines], -1))


class SharedBias(nn.Module):
    """Blocks that share one table of relative positions, as in T5."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(2 * TIME, 1)
        self.values = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.arange(TIME)
        bias = self.table(steps[:, None] - steps + TIME).squeeze(-1)
        for value in self.values:
            x = x + (x @ x.transpose(1, 2) + bias).softmax(-1) @ value(x)
        return x


class Tied(nn.Module):
    """Embedding and head are one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.body = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(self.embed(x)).tanh())


class TiedByUse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.body = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.body(self.embed(x))[0], self.embed.weight)


class Experts(nn.Module):
    """A mixture of experts: where a word goes is decided by its values; the balance goes to the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, 3)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.gate(x).softmax(-1)
        weight, chosen = scores.max(-1)
        y = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            if (at := chosen == number).any():
                y[at] = expert(x[at]) * weight[at].unsqueeze(-1)
        return x + y, scores.mean((0, 1)).square().sum()


class MeanAndBalance(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH, CLASSES)

    def forward(self, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, balance = given
        return self.read(x.mean(1)), balance


def balanced(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    return functional.cross_entropy(output[0], target) + 0.1 * output[1]


class Adapted(nn.Module):
    """A frozen layer with a trained low-rank part beside, as LoRA has it."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH).requires_grad_(requires_grad=False)
        self.down = nn.Parameter(torch.randn(2, WIDTH) * 0.1)
        self.up = nn.Parameter(torch.zeros(WIDTH, 2))

    def forward(self, x: Tensor) -> Any:
        return self.base(x) + functional.dropout(x, 0.1, self.training) @ self.down.t() @ self.up.t()


class Prefix(nn.Module):
    """Learned vectors in front of frozen words."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH).requires_grad_(requires_grad=False)
        self.prefix = nn.Parameter(torch.randn(1, 2, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.prefix.expand(len(x), -1, -1), self.embed(x)], 1)


class LayerDrop(nn.Module):
    """Leaves whole layers out at random; the coin is torch's or Python's."""

    def __init__(self, coin: Callable[[], float]) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.coin = coin

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).tanh()
        for layer in self.layers:
            if self.training and self.coin() < 0.4:
                continue
            x = x + layer(x).tanh()
        return x


def toss() -> float:
    return float(torch.rand(()))


class Padded(nn.Module):
    """Takes words and a mask of padding, and passes both on."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH, padding_idx=0)

    def forward(self, given: dict[str, Tensor]) -> dict[str, Any]:
        return {"x": self.embed(given["words"]), "mask": given["mask"], "scale": 0.5, "extra": None}


class Attended(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.1, batch_first=True)
        self.read = nn.Linear(WIDTH, CLASSES)

    def forward(self, given: dict[str, Any]) -> Any:
        x = self.layer(given["x"] * given["scale"], src_key_padding_mask=given["mask"])
        return self.read((x * ~given["mask"].unsqueeze(-1)).sum(1))


def padded(size: int) -> dict[str, Tensor]:
    tokens = torch.randint(1, WORDS, (size, TIME))
    tokens[:, 3:] = 0
    return {"words": tokens, "mask": tokens == 0}


class StateSpace(nn.Module):
    """A linear recurrence, whose rates ask by an attribute not to decay."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = nn.Parameter(torch.linspace(-1, 1, WIDTH))
        self.rates.no_weight_decay = True  # type: ignore[attr-defined]
        self.mix = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        state, states = torch.zeros_like(x[:, 0]), []
        for step in self.mix(x).unbind(1):
            state = state * self.rates.sigmoid() + step
            states.append(state)
        return torch.stack(states, 1)


def by_attribute(parameters: list[Parameter]) -> Optimizer:
    """Group as an attribute of each parameter asks."""
    spared = [each for each in parameters if hasattr(each, "no_weight_decay")]
    others = [each for each in parameters if not hasattr(each, "no_weight_decay")]
    groups = [{"params": spared, "weight_decay": 0.0}, {"params": others, "weight_decay": 0.5}]
    return SGD([group for group in groups if group["params"]], lr=0.1)


def embedded(*rest: nn.Module) -> Chain:
    return [nn.Embedding(WORDS, WIDTH), *rest]


def next_words(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


def lengths(size: int) -> Any:
    return torch.randint(WORDS, (size, 2 + int(torch.randint(6, ()))))


def first(outputs: tuple[Tensor, Any]) -> Tensor:
    return outputs[0]


def mean_of_first() -> nn.Module:
    return nn.Sequential(Apply(first), mean(2 * WIDTH))


text = words(TIME)

ENTRIES = {
    "causal mask of -inf in a buffer": Entry(lambda: embedded(Causal(), Causal(), mean()), text),
    "rotary table that grows": Entry(lambda: embedded(Rotary(), mean()), lengths, in_turn=True),
    "one bias for all blocks": Entry(lambda: embedded(SharedBias(), mean()), text),
    "embedding tied to the head": Entry(lambda: [Tied()], text, text, next_words, partial(AdamW, lr=0.01)),
    "embedding used as the head": Entry(lambda: [TiedByUse()], text, text, next_words),
    "experts chosen by the data": Entry(lambda: embedded(Experts(), MeanAndBalance()), text, loss=balanced),
    "low-rank parts beside frozen layers": Entry(
        lambda: embedded(Adapted(), Adapted(), mean()), text, optimizer=partial(AdamW, lr=0.01)
    ),
    "learned prefix": Entry(lambda: [Prefix(), mean()], text),
    "layers left out by torch's coin": Entry(lambda: embedded(LayerDrop(toss), mean()), text),
    "layers left out by Python's coin": Entry(lambda: embedded(LayerDrop(random.random), mean()), text, coin=True),
    "mask of padding": Entry(lambda: [Padded(), Attended()], padded),
    "parameters that ask not to decay": Entry(lambda: embedded(StateSpace(), mean()), text, optimizer=by_attribute),
    "sparse bag of words": Entry(
        lambda: [nn.EmbeddingBag(WORDS, WIDTH, sparse=True, mode="sum"), flat(WIDTH)],
        text,
        optimizer=partial(SGD, lr=0.1),
    ),
    "sparse bag of words, SparseAdam": Entry(
        lambda: [nn.EmbeddingBag(WORDS, CLASSES, sparse=True, mode="mean")],
        text,
        optimizer=partial(SparseAdam, lr=0.01),
    ),
    "sparse embedding with momentum": Entry(
        lambda: [nn.Embedding(WORDS, WIDTH, sparse=True), nn.Flatten(), nn.Linear(TIME * WIDTH, CLASSES)],
        text,
        optimizer=partial(SGD, lr=0.1, momentum=0.9),
    ),
    "sparse embedding, Adagrad": Entry(
        lambda: [nn.Embedding(WORDS, WIDTH, sparse=True), flat(TIME * WIDTH)], text, optimizer=partial(Adagrad, lr=0.1)
    ),
    "gradients scaled by frequency": Entry(
        lambda: [nn.Embedding(WORDS, WIDTH, padding_idx=2, scale_grad_by_freq=True), flat(TIME * WIDTH)], text
    ),
    "embedding of bounded norm": Entry(
        lambda: [nn.Embedding(WORDS, WIDTH, max_norm=0.5), flat(TIME * WIDTH)], text, labels, refused="own weights"
    ),
    "bidirectional recurrence": Entry(
        lambda: embedded(nn.LSTM(WIDTH, WIDTH, 2, batch_first=True, dropout=0.2, bidirectional=True), mean_of_first()),
        text,
    ),
}
