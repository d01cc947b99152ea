"""Networks that make something: adversaries, autoencoders, flows, diffusion."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.optim import Adam

from tests.strangers.entry import BATCH, WIDTH, Entry, vector
from tests.strangers.fields.functions import Reverse, applied
from tests.strangers.parts import head, linear


class Generator(nn.Module):
    """Takes noise and what is real, and passes what it made on beside what is real."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))

    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        made = self.layers(given["noise"])
        return applied(Reverse, made), given["real"]


class Discriminator(nn.Module):
    """Tells both apart."""

    def __init__(self) -> None:
        super().__init__()
        normed = parametrizations.spectral_norm
        self.layers = nn.Sequential(normed(nn.Linear(WIDTH, WIDTH)), nn.LeakyReLU(0.2), normed(nn.Linear(WIDTH, 1)))

    def forward(self, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        made, real = given
        return self.layers(made), self.layers(real)


class Penalised(Discriminator):
    """Computes the gradient penalty of WGAN-GP beside its scores: the gradient of a gradient."""

    def forward(self, given: tuple[Tensor, Tensor]) -> Any:
        made, real = given
        share = torch.rand(len(real), 1)
        between = (share * real + (1 - share) * made).detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = grad(self.layers(between).sum(), between, create_graph=self.training)
        penalty = (slope.norm(dim=1) - 1).square().mean()
        return *super().forward(given), penalty


class PenalisedReal(Discriminator):
    """R1: the slope at what is real."""

    def forward(self, given: tuple[Tensor, Tensor]) -> Any:
        made, real = given
        real = real.detach().requires_grad_()
        with torch.enable_grad():
            score = self.layers(real)
            (slope,) = grad(score.sum(), real, create_graph=self.training)
        return self.layers(made), score, slope.square().sum(1).mean()


def adversarial(output: tuple[Tensor, ...], target: Tensor) -> Tensor:
    made, real, *penalties = output
    value = functional.softplus(made).mean() + functional.softplus(-real).mean()
    return value + sum(penalties)


def noise_and_real(size: int) -> dict[str, Tensor]:
    return {"noise": torch.randn(size, 4), "real": torch.randn(size, WIDTH) + 2}


class Encoder(nn.Module):
    """Draws a code around a mean, and passes on what the loss needs."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.spread = nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        mean, spread = self.mean(x), self.spread(x)
        code = mean + (spread / 2).exp() * torch.randn_like(mean) if self.training else mean
        return {"code": code, "mean": mean, "spread": spread}


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))

    def forward(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**given, "made": self.layers(given["code"])}


def evidence(output: dict[str, Tensor], target: Tensor) -> Tensor:
    mean, spread = output["mean"], output["spread"]
    divergence = (mean.square() + spread.exp() - spread - 1).sum(1).mean() / 2
    return functional.mse_loss(output["made"], target) + 0.1 * divergence


class Codes(nn.Module):
    """VQ-VAE, whose codes are moving means in buffers."""

    codes: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("codes", torch.randn(5, WIDTH))
        self.register_buffer("sums", self.codes.clone())
        self.register_buffer("counts", torch.ones(5))

    def means(self, x: Tensor, chosen: Tensor) -> Tensor:
        hot = functional.one_hot(chosen, 5).float()
        self.counts.mul_(0.9).add_(hot.sum(0), alpha=0.1)
        self.sums.mul_(0.9).add_(hot.t() @ x.detach(), alpha=0.1)
        return self.sums / self.counts.clamp(min=0.1).unsqueeze(1)

    def forward(self, x: Tensor) -> Any:
        x = self.linear(x)
        chosen = torch.cdist(x, self.codes).argmin(1)
        quantised = self.codes[chosen]
        if self.training:
            self.codes.copy_(self.means(x, chosen))
        return x + (quantised - x).detach()


class CodesReplaced(Codes):
    """The same, whose codes are a parameter that each forward replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, WIDTH)

    def forward(self, x: Tensor) -> Any:
        x = self.linear(x)
        chosen = torch.cdist(x, self.table.weight).argmin(1)
        quantised = self.table(chosen)
        if self.training:
            self.table.weight = nn.Parameter(self.means(x, chosen))
        return x + (quantised - x).detach()


class ActNorm(nn.Module):
    """A layer of a flow, whose parameters the first batch sets."""

    initialised: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(WIDTH))
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.register_buffer("initialised", torch.tensor(data=False))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.initialised:
            with torch.no_grad():
                self.shift.copy_(-x.mean(0))
                self.scale.copy_(1 / x.std(0))
            self.initialised.fill_(value=True)
        return (x + self.shift) * self.scale


class Coupling(nn.Module):
    """A layer of a flow, which passes the logarithm of its determinant on."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 8))
        self.first = first

    def forward(self, given: Any) -> tuple[Tensor, Tensor]:
        x, determinant = given if isinstance(given, tuple) else (given, torch.zeros(len(given)))
        one, two = x.chunk(2, 1) if self.first else reversed(x.chunk(2, 1))
        scale, shift = self.net(one).chunk(2, 1)
        two = two * scale.tanh().exp() + shift
        return torch.cat([one, two], 1), determinant + scale.tanh().sum(1)


def likelihood(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    x, determinant = output
    return (x.square().sum(1) / 2 - determinant).mean()


class Diffusion(nn.Module):
    """Adds noise by a schedule in buffers, and guesses it."""

    alphas: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("alphas", torch.linspace(0.999, 0.9, 20).cumprod(0))
        self.step = nn.Embedding(20, WIDTH)
        self.guess = linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        steps = torch.randint(20, (len(x),)) if self.training else torch.full((len(x),), 10)
        noise = torch.randn_like(x) if self.training else torch.ones_like(x)
        alpha = self.alphas[steps].unsqueeze(1)
        mixed = alpha.sqrt() * x + (1 - alpha).sqrt() * noise
        return self.guess(mixed + self.step(steps)), noise


class Energy(nn.Module):
    """Passes the slope of an energy on: a gradient inside the forward, in evaluation, too."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(WIDTH, 16), nn.Softplus(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = grad(self.energy(x).sum(), x, create_graph=self.training)
        return slope


class PathLength(nn.Module):
    """A penalty around a running mean in a buffer of one number, as StyleGAN has it."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = linear()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.layers(x)
        length = y.square().sum(1).sqrt()
        if self.training:
            self.mean.lerp_(length.mean().detach(), 0.1)
        return y, (length - self.mean).square().mean()


def with_penalty(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    return functional.mse_loss(*output) if output[1].ndim else functional.mse_loss(output[0], target) + output[1]


adam = partial(Adam, lr=0.01)

ENTRIES = {
    "adversaries by a reversed gradient": Entry(
        lambda: [Generator(), Discriminator()], noise_and_real, loss=adversarial, optimizer=adam
    ),
    "gradient penalty between real and made": Entry(
        lambda: [Generator(), Penalised()], noise_and_real, loss=adversarial, validated=False
    ),
    "gradient penalty at what is real": Entry(lambda: [Generator(), PenalisedReal()], noise_and_real, loss=adversarial),
    "variational autoencoder": Entry(lambda: [Encoder(), Decoder()], vector, vector, evidence, adam),
    "codes that are moving means": Entry(lambda: [linear(), Codes(), head()], in_turn=True),
    "codes in a parameter that is replaced": Entry(
        lambda: [linear(), CodesReplaced(), head()], refused="parameter|weight"
    ),
    "parameters that the first batch sets": Entry(lambda: [linear(), ActNorm(), head()], refused="own weights"),
    "normalising flow": Entry(
        lambda: [Coupling(first=True), Coupling(first=False), Coupling(first=True)], vector, loss=likelihood
    ),
    "diffusion": Entry(lambda: [Diffusion()], vector, loss=with_penalty, optimizer=adam),
    "slope of an energy": Entry(lambda: [linear(), Energy(), head()]),
    "path length around a running mean": Entry(
        lambda: [linear(), PathLength()], vector, vector, with_penalty, in_turn=True
    ),
    "path length, batches of one size": Entry(
        lambda: [linear(), PathLength()], vector, vector, with_penalty, adam, (BATCH,) * 5, in_turn=True
    ),
}
