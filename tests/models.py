"""Models as people have them: blocks with names, and a forward with glue between them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions with a shortcut around them."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Any:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return functional.relu(y)


class ResNet(nn.Module):
    """8 x 8 pictures of one channel, three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Block(4, 4), Block(4, 4))
        self.layer2 = nn.Sequential(Block(4, 6), nn.Dropout(0.2), Block(6, 6))
        self.scale = nn.Parameter(torch.ones(6))
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, 2)
        x = self.layer2(self.layer1(x))
        x = functional.adaptive_avg_pool2d(x, 1)
        x = torch.flatten(x, 1) * self.scale
        x = functional.dropout(x, 0.1, training=self.training)
        return self.fc(x)


class MaskedBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor, lengths: Tensor) -> Any:
        mean = (x * mask.unsqueeze(-1)).sum(1, keepdim=True) / lengths.view(-1, 1, 1)
        return x + functional.gelu(self.linear(self.norm(x + mean)))


def mask_of(tokens: Tensor, padding: int) -> Tensor:
    """Decide by the values of a tensor, as mask makers do."""
    return torch.ones_like(tokens, dtype=torch.bool) if not (tokens == padding).any() else tokens != padding


class Masked(nn.Module):
    """A mask and a number go to each block, and the embedding skips all of them but the last. Five classes."""

    positions: Tensor

    def __init__(self, width: int = 8, blocks: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, width)
        self.register_buffer("positions", torch.linspace(-1, 1, 16), persistent=False)
        self.blocks = nn.ModuleList(MaskedBlock(width) for _ in range(blocks))
        self.head = nn.Linear(2 * width, 5)

    def forward(self, tokens: Tensor, weights: Tensor | None = None) -> dict[str, Any]:
        mask = mask_of(tokens, padding=0)
        lengths = mask.sum(1).clamp(min=1)
        assert tokens.ndim == 2
        assert tokens.shape[1] <= 16
        first = self.embed(tokens) + self.positions[: tokens.shape[1]].view(1, -1, 1)
        if weights is not None:
            first = first * weights.unsqueeze(-1)
        x = first
        for block in self.blocks:
            x = block(x, mask, lengths=lengths)
        both = torch.cat([x, first], dim=-1)
        return {"logits": self.head(both.mean(dim=1)), "pooled": both.mean(dim=1)}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Any:
        return self.head(torch.tanh(self.body(self.embed(x))))


class Scaled(nn.Module):
    """A number that each block is scaled with, and a weight that is used once more at the end. Three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(64, 64)
        self.two = nn.Linear(64, 64)
        self.three = nn.Linear(64, 3)
        self.scale = nn.Parameter(torch.ones(64))

    def forward(self, x: Tensor) -> Any:
        x = torch.tanh(self.one(x.flatten(1)) * self.scale)
        x = torch.tanh(self.two(x) * self.scale)
        return self.three(functional.linear(x, self.one.weight) * self.scale)
