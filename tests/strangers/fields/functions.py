"""Functions with a backward of their own, and what goes around in autograd."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from tests.strangers.entry import WIDTH, Entry
from tests.strangers.parts import Apply, around, head, linear


def applied(function: Any, *given: Any) -> Any:
    """Call a function of autograd, whose `apply` torch declares without types."""
    return function.apply(*given)


class Reverse(Function):
    """The identity, whose gradient is negative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return -gradient


class Swish(Function):
    """Saves its input, and computes the rest again in the backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(x, beta)
        return x * (beta * x).sigmoid()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, beta = ctx.saved_tensors
        sigmoid = (beta * x).sigmoid()
        slope = sigmoid * (1 - sigmoid)
        return gradient * (sigmoid + beta * x * slope), (gradient * x * x * slope).sum().view_as(beta)


class InPlace(Function):
    """Writes into its input, and says so."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x.clamp_(min=0))
        ctx.save_for_backward(x > 0)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient * ctx.saved_tensors[0]


class Sorted(Function):
    """Two outputs, one of which has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        values, places = x.sort(1)
        ctx.mark_non_differentiable(places)
        ctx.save_for_backward(places)
        return values, places

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Any) -> Any:
        return torch.zeros_like(gradient).scatter(1, ctx.saved_tensors[0], gradient)


class Reversible(Function):
    """Keeps its output alone: the backward computes the input again, by calling the modules."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module, *weights: Tensor) -> Tensor:
        ctx.module = module
        with torch.no_grad():
            one, two = x.chunk(2, 1)
            two = two + module(one)
            y = torch.cat([one, two], 1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        one = y.chunk(2, 1)[0].detach().requires_grad_()
        weights = [weight for weight in ctx.module.parameters() if weight.requires_grad]
        with torch.enable_grad():
            made = ctx.module(one)
        of_one, of_two = gradient.chunk(2, 1)
        more, *of_weights = torch.autograd.grad(made, [one, *weights], of_two)
        found = iter(of_weights)
        of_all = [next(found) if weight.requires_grad else None for weight in ctx.module.parameters()]
        return torch.cat([of_one + more, of_two], 1), None, *of_all


class ReversibleBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = linear(WIDTH // 2, WIDTH // 2)

    def forward(self, x: Tensor) -> Any:
        return applied(Reversible, x, self.inner, *self.inner.parameters())


class LearnedSwish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Any:
        return applied(Swish, x, self.beta)


class Offloaded(nn.Module):
    """Packs what is saved for the backward, as offloading does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear()

    def forward(self, x: Tensor) -> Any:
        with saved_tensors_hooks(torch.Tensor.clone, torch.Tensor.clone):
            return self.inner(x)


class HookedTensor(nn.Module):
    """Changes a gradient inside, by a hook of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        if y.requires_grad:
            y.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))  # type: ignore[no-untyped-call]
        return y


class Vectorised(nn.Module):
    """Maps a function of its parameters over the samples of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH) * 0.3)

    def forward(self, x: Tensor) -> Any:
        return torch.func.vmap(lambda row: (self.weight @ row).tanh())(x)


class Jacobian(nn.Module):
    """Takes the derivative of itself along a direction, by `torch.func`."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear()

    def forward(self, x: Tensor) -> Any:
        derived: Any = torch.func.jvp(self.inner, (x,), (torch.ones_like(x),))
        value, slope = derived
        return value + slope


def sorted_values(x: Tensor) -> Any:
    values, places = applied(Sorted, x)
    return values * (1 + places)


def in_place(x: Tensor) -> Any:
    return applied(InPlace, x * 1)


ENTRIES = {
    "reversed gradient": Entry(lambda: around(Apply(Reverse.apply))),
    "function that saves its input": Entry(lambda: around(LearnedSwish())),
    "function that writes into its input": Entry(lambda: around(Apply(in_place))),
    "function that writes into what came from upstream": Entry(
        lambda: [nn.Linear(WIDTH, WIDTH), Apply(InPlace.apply), head()]
    ),
    "function with an output without gradient": Entry(lambda: around(Apply(sorted_values))),
    "reversible block that calls its module in the backward": Entry(lambda: around(ReversibleBlock())),
    "hooks that pack what is saved": Entry(lambda: around(Offloaded())),
    "hook of a tensor": Entry(lambda: around(HookedTensor())),
    "function mapped over samples": Entry(lambda: around(Vectorised())),
    "derivative of itself along a direction": Entry(lambda: around(Jacobian())),
}
