"""Networks that see."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, AdamW

from tests.models import Block, ResNet
from tests.strangers.entry import CLASSES, WIDTH, Chain, Entry, floats
from tests.strangers.parts import Residual, flat


class Patches(nn.Module):
    """Cuts pictures into patches, with a token of its own in front and learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.randn(1, 5, WIDTH) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.positions


class FirstToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.norm(x)[:, 0])


class DropPath(nn.Module):
    """Stochastic depth: leaves a branch out, for some samples of a batch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.inner(x)
        if self.training:
            branch = branch * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(0.7).div_(0.7)
        return x + branch


class Squeeze(nn.Module):
    """Squeeze and excitation, written with operations in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, 2, 1)
        self.up = nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = functional.relu_(self.down(functional.adaptive_avg_pool2d(x, 1)))
        return x.mul_(self.up(weights).sigmoid_())


class Down(nn.Module):
    """Half of a U: passes its skip connections on."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        one = self.one(x).relu()
        two = self.two(functional.max_pool2d(one, 2)).relu()
        return functional.max_pool2d(two, 2), [one, two]


class Up(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.two = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.one = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.read = nn.Conv2d(8, CLASSES, 1)

    def forward(self, given: tuple[Tensor, list[Tensor]]) -> Any:
        x, (one, two) = given
        x = torch.cat([self.two(x), two], 1)
        return self.read(torch.cat([self.one(x), one], 1)).mean((2, 3))


class Transformer(nn.Module):
    """Spatial transformer: samples its input at places that it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Linear(3 * 8 * 8, 6)
        nn.init.zeros_(self.where.weight)

    def forward(self, x: Tensor) -> Tensor:
        grid = functional.affine_grid(self.where(x.flatten(1)).view(-1, 2, 3), list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)


class Standardised(nn.Conv2d):
    """Weight standardisation: the weight is normalised at each forward."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / weight.std((1, 2, 3), keepdim=True).add(1e-5)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class Siamese(nn.Module):
    """One trunk for two pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())

    def forward(self, two: tuple[Tensor, Tensor]) -> Any:
        return (self.trunk(two[0]) - self.trunk(two[1])).abs()


class Normalised(nn.Module):
    """Cosines between features and classes, as ArcFace has them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CLASSES, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return 8 * functional.linear(functional.normalize(x), functional.normalize(self.weight))


class MaxNorm(nn.Linear):
    """Keeps the norm of its rows below a bound, as EEGNet does."""

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data = torch.renorm(self.weight.data, p=2, dim=0, maxnorm=0.3)
        return super().forward(x)


class Permuted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.conv(x)
        return convolved.permute(0, 2, 3, 1)


class LastChannels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.read = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.read(self.norm(x)).mean((1, 2))


def resnet() -> Chain:
    whole = ResNet()
    stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu)
    return [stem, whole.layer1, Block(4, 6), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), whole.fc)]


def last(module: nn.Module) -> nn.Module:
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def last_channels_first() -> Chain:
    stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
    return [last(stem), last(nn.Sequential(nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), flat(8)))]


def vit() -> Chain:
    layer = partial(nn.TransformerEncoderLayer, WIDTH, 2, 16, dropout=0.1, batch_first=True, activation="gelu")
    return [Patches(), layer(norm_first=True), layer(), FirstToken()]


def mobile() -> Chain:
    depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.GroupNorm(2, 8), nn.Hardswish(inplace=True))
    return [nn.Conv2d(3, 8, 1), DropPath(depthwise), nn.Sequential(Squeeze(8), nn.AdaptiveAvgPool2d(1), flat(8))]


picture = floats(3, 8, 8)

ENTRIES = {
    "residual network": Entry(resnet, floats(1, 8, 8)),
    "vision transformer": Entry(vit, picture, optimizer=partial(AdamW, lr=0.01)),
    "stochastic depth, squeeze and excitation in place": Entry(mobile, picture),
    "U whose skips travel": Entry(lambda: [Down(), nn.Identity(), Up()], picture),
    "spatial transformer": Entry(lambda: [Transformer(), nn.Conv2d(3, 4, 3), flat(4 * 36)], picture),
    "standardised weights": Entry(
        lambda: [Standardised(3, 4, 3), nn.Sequential(nn.GroupNorm(2, 4), nn.ReLU()), flat(4 * 36)], picture
    ),
    "one trunk for two pictures": Entry(
        lambda: [Siamese(), nn.Linear(4 * 36, CLASSES)], lambda size: (torch.randn(size, 3, 8, 8),) * 2
    ),
    "cosines to normalised classes": Entry(lambda: [nn.Linear(WIDTH, WIDTH), Normalised()]),
    "rows of bounded norm, by .data": Entry(
        lambda: [nn.Linear(WIDTH, WIDTH), MaxNorm(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)], refused="weight"
    ),
    "channels last in the output": Entry(lambda: [Permuted(), LastChannels()], picture),
    "channels last in the output, clipped": Entry(lambda: [Permuted(), LastChannels()], picture, max_norm=0.05),
    "channels_last weights": Entry(last_channels_first, picture),
    "channels_last weights, clipped": Entry(last_channels_first, picture, max_norm=0.05),
    "channels_last weights, clipped, Adam": Entry(
        last_channels_first, picture, max_norm=0.05, optimizer=partial(Adam, lr=0.01)
    ),
    "dense connections": Entry(
        lambda: [nn.Sequential(Residual(nn.Conv2d(3, 3, 3, padding=1)), nn.MaxPool2d(2)), flat(48)], picture
    ),
}
