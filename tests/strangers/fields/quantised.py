"""Networks with few bits: binary weights, learned steps, quantisation-aware training by torch's own tools."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import (
    FakeQuantize,
    HistogramObserver,
    MovingAverageMinMaxObserver,
    PerChannelMinMaxObserver,
    get_default_qat_qconfig,
    prepare_qat,
)
from torch.autograd import Function
from torch.nn import functional

from tests.strangers.entry import WIDTH, Chain, Entry, floats
from tests.strangers.fields.functions import applied
from tests.strangers.parts import Apply, around, flat, head, linear


class Binary(nn.Linear):
    """Weights are signs; the gradient goes straight through."""

    def forward(self, x: Tensor) -> Tensor:
        signs = self.weight.sign() * self.weight.abs().mean()
        return functional.linear(x, self.weight + (signs - self.weight).detach(), self.bias)


class Ternary(nn.Linear):
    """Weights of BitNet, and activations of eight bits."""

    def forward(self, x: Tensor) -> Tensor:
        scale = 1 / self.weight.abs().mean().clamp(min=1e-5)
        weight = (self.weight * scale).round().clamp(-1, 1) / scale
        step = 127 / x.abs().amax(1, keepdim=True).clamp(min=1e-5)
        rounded = (x * step).round().clamp(-128, 127) / step
        return functional.linear(x + (rounded - x).detach(), self.weight + (weight - self.weight).detach())


class Rounded(Function):
    """Rounds by a learned step (LSQ)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor) -> Tensor:
        ctx.save_for_backward(x, step)
        return (x / step).clamp(-4, 3).round() * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, step = ctx.saved_tensors
        scaled = x / step
        inside = (scaled > -4) & (scaled < 3)
        of_step = torch.where(inside, scaled.round() - scaled, scaled.clamp(-4, 3))
        return gradient * inside, (gradient * of_step).sum().view_as(step) / x.numel() ** 0.5


class Learned(nn.Module):
    """Rounds its input by a step that is trained, too."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.step = nn.Parameter(torch.tensor([0.2]))

    def forward(self, x: Tensor) -> Any:
        return self.linear(applied(Rounded, x, self.step.abs()))


class Adapter(nn.Module):
    """Frozen weights of eight bits in buffers, and a trained part of low rank beside: QLoRA in small."""

    codes: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(WIDTH, WIDTH)
        self.register_buffer("scale", weight.abs().amax(1, keepdim=True) / 127)
        self.register_buffer("codes", (weight / self.scale).round().to(torch.int8))
        self.down = nn.Parameter(torch.randn(2, WIDTH) * 0.1)
        self.up = nn.Parameter(torch.zeros(WIDTH, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.codes * self.scale).t() + x @ self.down.t() @ self.up.t()


def straight_through(x: Tensor) -> Tensor:
    return x + (x.mul(8).round().div(8) - x).detach()


def observed(observer: Any, **settings: Any) -> nn.Module:
    """Round with what an observer has seen; its buffers begin empty."""
    return FakeQuantize(observer, quant_min=0, quant_max=255, dtype=torch.quint8, **settings)  # type: ignore[no-untyped-call]


def per_channel() -> nn.Module:
    return FakeQuantize(PerChannelMinMaxObserver, quant_min=-128, quant_max=127, dtype=torch.qint8, ch_axis=1)  # type: ignore[no-untyped-call]


def prepared() -> Chain:
    """A model as `prepare_qat` leaves it."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    model.qconfig = get_default_qat_qconfig("fbgemm")  # type: ignore[no-untyped-call]
    model.train()
    ready = prepare_qat(model)  # type: ignore[no-untyped-call]
    return [ready[0], ready[1:]]


def histogram() -> Chain:
    return [linear(), HistogramObserver(), head()]


ENTRIES = {
    "binary weights": Entry(lambda: around(Binary(WIDTH, WIDTH))),
    "ternary weights, activations of eight bits": Entry(lambda: around(Ternary(WIDTH, WIDTH, bias=False))),
    "learned step": Entry(lambda: around(Learned())),
    "low-rank parts beside eight bits": Entry(lambda: around(Adapter())),
    "moving range of activations": Entry(
        lambda: around(observed(MovingAverageMinMaxObserver)), in_turn=True, validated=False
    ),
    "range per channel, empty at first": Entry(lambda: around(per_channel()), in_turn=True, validated=False),
    "histogram of activations": Entry(histogram, in_turn=True, validated=False),
    "quantisation-aware training by torch": Entry(prepared, floats(3, 8, 8), in_turn=True, validated=False),
    "rounded straight through": Entry(lambda: [linear(), Apply(straight_through), flat(WIDTH)]),
}
