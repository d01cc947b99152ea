"""A small GPT that learns text one character at a time: 4 blocks, 0.8 million parameters, 8 gates.

The sizes are those of nanoGPT's example for a CPU. Each block gives two gates, its attention and its perceptron; the
embedding joins the first gate, and the output layer joins the last.

Shapes: B = batch, T = characters in a window, W = width, H = heads, V = vocabulary.
"""

import logging
import math
from collections import OrderedDict
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.optim.lr_scheduler import LambdaLR

from akkordeon.datasets import ASCII, Loader, python, shakespeare
from akkordeon.errors import DataUnavailable
from akkordeon.gate.description import Gate
from akkordeon.sentinel.metrics import Metrics, Perplexity, accuracy
from akkordeon.staleness import StalenessScaledRate, nadamw

logger = logging.getLogger(__name__)

TEXTS = ("auto", "shakespeare", "python")

WARM_UP = 100
"""Updates over which the learning rate rises."""

loss = cross_entropy
metrics: Metrics = {"accuracy": accuracy, "perplexity": Perplexity()}


class Embedding(nn.Module):
    """Characters and their positions as vectors: codes, (B, T) int64, -> (B, T, W)."""

    def __init__(self, width: int, context: int, dropout: float) -> None:
        super().__init__()
        self.character = nn.Embedding(len(ASCII), width)
        self.place = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        for table in (self.character, self.place):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, codes: Tensor) -> Tensor:
        """Return (B, T, W)."""
        places = torch.arange(codes.shape[1], device=codes.device)
        out: Tensor = self.dropout(self.character(codes) + self.place(places))
        return out


class Attention(nn.Module):
    """The first half of a block: each character attends to those before it. (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, heads: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, bias=False)
        self.look = _linear(width, 3 * width)
        self.out = _linear(width, width, std=0.02 / math.sqrt(2 * blocks))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus the result of attention, (B, T, W)."""
        looked = self.look(self.norm(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = looked.permute(2, 0, 3, 1, 4)  # (B, H, T, W / H) each
        chance = self.dropout.p if self.training else 0.0
        found = scaled_dot_product_attention(query, key, value, dropout_p=chance, is_causal=True)
        out: Tensor = x + self.dropout(self.out(found.transpose(1, 2).flatten(2)))
        return out


class Perceptron(nn.Module):
    """The second half of a block, for each character on its own: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.widen = _linear(width, 4 * width)
        self.narrow = _linear(4 * width, width, std=0.02 / math.sqrt(2 * blocks))
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus the output of the perceptron, (B, T, W)."""
        out: Tensor = x + self.dropout(self.narrow(self.activation(self.widen(self.norm(x)))))
        return out


class Reading(nn.Module):
    """Logits of the next character: (B, T, W) -> (B, V, T), as `cross_entropy` takes them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.read = _linear(width, len(ASCII))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, V, T)."""
        logits: Tensor = self.read(self.norm(x))
        return logits.transpose(1, 2)


def gates(
    lr: float = 2e-3,
    updates: int = 2000,
    width: int = 128,
    heads: int = 4,
    blocks: int = 4,
    context: int = 64,
    dropout: float = 0.0,
) -> list[Gate]:
    """Codes (B, T) -> logits (B, V, T): two gates per block, each with an optimizer made for stale gradients.

    That is NAdamW, with a learning rate that a gate divides by 1 + staleness. nanoGPT trains synchronously with AdamW,
    lr 1e-3 and betas 0.9 and 0.99, which is better with one batch in flight, and worse with more.

    Args:
        lr: learning rate after a rise over the first 100 updates.
        updates: number of updates until it has fallen to a tenth, along a cosine; then it is constant.
        width: of the vector of a character.
        heads: of each attention; must divide the width.
        blocks: number of blocks; there are twice as many gates.
        context: length of a window, in characters.
        dropout: probability in training.

    Raises:
        ValueError: the heads do not divide the width, or there is no block.
    """
    parts = _parts(width, heads, blocks, context, dropout)
    optimizer = partial(nadamw, lr=lr, weight_decay=0.1)
    scheduler = partial(LambdaLR, lr_lambda=partial(_share, updates=updates))
    return [Gate(name, part, optimizer, StalenessScaledRate(), scheduler=scheduler) for name, part in parts.items()]


def model(width: int = 128, heads: int = 4, blocks: int = 4, context: int = 64, dropout: float = 0.0) -> nn.Sequential:
    """Return the same network as one module, for a plain loop; with the arguments of `gates`."""
    return nn.Sequential(OrderedDict(_parts(width, heads, blocks, context, dropout)))


def batches(
    split: str,
    take: slice = slice(None),
    batch_size: int = 12,
    seed: int = 0,
    folder: Path | None = None,
    text: str = "auto",
    context: int = 64,
) -> Loader:
    """Pairs (x, target) of codes, both (B, T) int64; the training windows in a new order for each epoch.

    Args:
        split: of the text: "train" is its first nine tenths, "validate" and "test" are the last tenth.
        take: windows to use.
        batch_size: windows per batch of training; otherwise 32.
        seed: for the first order.
        folder: the user's folder with `input.txt`, or the file itself.
        text: "shakespeare"; "python", which comes with the interpreter; or "auto", Shakespeare if it is available.
        context: length of a window, as for the gates.

    Raises:
        ValueError: the text or split is unknown.
        DataUnavailable: Shakespeare was asked for, and no source has it.
    """
    found = which(text, folder)
    whole = python(split) if found == "python" else shakespeare(split, folder=folder)
    size = batch_size if split == "train" else 32
    return Loader(whole.windows(context, take), size, shuffle=split == "train", seed=seed)


def which(text: str, folder: Path | None = None) -> str:
    """Return "shakespeare" or "python": the text to use.

    "auto" is Shakespeare if it is available, or if a folder is given; the answer stays the same within a process.

    Raises:
        ValueError: the text is unknown.
    """
    if text not in TEXTS:
        raise ValueError(f"text must be one of {', '.join(TEXTS)}, not {text!r}")
    if text == "auto":
        return "shakespeare" if folder is not None or shakespeare_is_there() else "python"
    return text


@cache  # asked once: a mirror that comes back must not make training and validation read different texts
def shakespeare_is_there() -> bool:
    """Return whether the text can be had; logs a warning where it cannot."""
    try:
        shakespeare("test")
    except DataUnavailable as error:
        logger.warning("training on Python programs instead of Shakespeare: %s", error)
        return False
    return True


def _parts(width: int, heads: int, blocks: int, context: int, dropout: float) -> dict[str, nn.Module]:
    if heads < 1 or width % heads:
        raise ValueError(f"width must be a multiple of heads, and {width} is no multiple of {heads}")
    if blocks < 1:
        raise ValueError(f"there must be at least 1 block, not {blocks}")
    parts: dict[str, nn.Module] = {}
    for number in range(1, blocks + 1):
        parts[f"attention{number}"] = Attention(width, heads, blocks, dropout)
        parts[f"perceptron{number}"] = Perceptron(width, blocks, dropout)
    parts["attention1"] = nn.Sequential(Embedding(width, context, dropout), parts["attention1"])
    parts[f"perceptron{blocks}"] = nn.Sequential(parts[f"perceptron{blocks}"], Reading(width))
    return parts


def _linear(width_in: int, width_out: int, std: float = 0.02) -> nn.Linear:
    linear = nn.Linear(width_in, width_out, bias=False)
    nn.init.normal_(linear.weight, std=std)
    return linear


def _share(update: int, updates: int) -> float:
    """Return the factor of the learning rate: a linear rise from 0, half a cosine down to a tenth, then constant."""
    if update < WARM_UP:
        return (update + 1) / (WARM_UP + 1)
    progress = min(1.0, (update - WARM_UP) / max(1, updates - WARM_UP))
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))
