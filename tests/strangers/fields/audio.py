"""Networks that hear, and numbers that are complex."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.optim import Adagrad, Adam, RMSprop

from tests.strangers.entry import CLASSES, WIDTH, Chain, Entry, floats
from tests.strangers.parts import flat

SAMPLES = 64


class Filters(nn.Module):
    """Learned bands of frequency under a fixed window, as SincNet has them."""

    window: Tensor
    times: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Parameter(torch.linspace(0.02, 0.3, 4))
        self.width = nn.Parameter(torch.full((4,), 0.1))
        self.register_buffer("window", torch.hamming_window(9), persistent=False)
        self.register_buffer("times", torch.arange(-4.0, 5.0), persistent=False)

    def band(self, edge: Tensor) -> Tensor:
        return 2 * edge[:, None] * torch.sinc(2 * edge[:, None] * self.times)

    def forward(self, x: Tensor) -> Tensor:
        kernels = (self.band(self.low.abs() + self.width.abs()) - self.band(self.low.abs())) * self.window
        return functional.conv1d(x, kernels.unsqueeze(1))


class Spectrum(nn.Module):
    """Passes complex numbers on."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(SAMPLES))
        self.register_buffer("window", torch.hann_window(16))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stft(x.squeeze(1) * self.gain, 16, window=self.window, return_complex=True)


class Power(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(9, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.read((x.abs().square() + 1e-6).log().mean(-1))


class Masking(nn.Module):
    """Hides a random stretch of time from training, as SpecAugment does; writes into a clone."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        x = x.clone()
        begin = int(torch.randint(0, SAMPLES - 16, ()))
        x[..., begin : begin + 8] = 0
        return x


class Gated(nn.Module):
    """A gated convolution with dilation, normalised weights and a skip, as WaveNet has it."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        make = partial(nn.Conv1d, 4, 4, 2, dilation=dilation)
        self.filter, self.gate = parametrizations.weight_norm(make()), parametrizations.weight_norm(make())
        self.dilation = dilation

    def forward(self, given: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
        x, skip = given
        padded = functional.pad(x, (self.dilation, 0))
        made = self.filter(padded).tanh() * self.gate(padded).sigmoid()
        return x + made, made if skip is None else skip + made


class Skips(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(4, CLASSES)

    def forward(self, given: tuple[Tensor, Tensor]) -> Any:
        return self.read(given[1].relu().mean(-1))


class Start(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.conv(x), None


class Symbols(nn.Module):
    """Log-probabilities of symbols over time, as CTC takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, WIDTH, batch_first=True)
        self.read = nn.Linear(WIDTH, CLASSES + 1)

    def forward(self, x: Tensor) -> Any:
        return self.read(self.rnn(x.transpose(1, 2))[0]).log_softmax(-1).transpose(0, 1)


def spelling(size: int) -> dict[str, Tensor]:
    return {"symbols": torch.randint(1, CLASSES + 1, (size, 3)), "lengths": torch.randint(1, 4, (size,))}


def ctc(output: Tensor, target: dict[str, Tensor]) -> Tensor:
    steps = torch.full((output.shape[1],), output.shape[0])
    return functional.ctc_loss(output, target["symbols"], steps, target["lengths"], zero_infinity=True)


class ComplexLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH, dtype=torch.cfloat) * 0.3)
        self.bias = nn.Parameter(torch.zeros(WIDTH, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        return x.to(torch.cfloat) @ self.weight + self.bias


class Real(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(2 * WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.read(torch.view_as_real(x).flatten(1))


def complex_chain() -> Chain:
    return [ComplexLinear(), ComplexLinear(), Real()]


sound = floats(1, SAMPLES)

ENTRIES = {
    "learned filters": Entry(lambda: [Filters(), nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()), flat(4 * 56)], sound),
    "spectrum between gates": Entry(lambda: [Masking(), Spectrum(), Power()], sound),
    "gated convolutions, normalised weights": Entry(lambda: [Start(), Gated(1), Gated(2), Gated(4), Skips()], sound),
    "targets of unequal lengths": Entry(lambda: [nn.Conv1d(1, 4, 8, stride=8), Symbols()], sound, spelling, ctc),
    "complex weights": Entry(complex_chain),
    "complex weights, Adam": Entry(complex_chain, optimizer=partial(Adam, lr=0.01)),
    "complex weights, RMSprop": Entry(complex_chain, optimizer=partial(RMSprop, lr=0.01, momentum=0.9, centered=True)),
    "complex weights, Adagrad": Entry(complex_chain, optimizer=partial(Adagrad, lr=0.1)),
    "complex weights, clipped": Entry(complex_chain, max_norm=0.1),
}
