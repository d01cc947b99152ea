"""Hooks, lambdas, bound methods: what reaches a module by other ways than its attributes."""

import types
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.strangers.entry import WIDTH, Entry
from tests.strangers.parts import Apply, around, head, linear


class Doubled(nn.Module):
    """Has hooks that know nothing of it: before, after and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.linear.register_full_backward_hook(halve)
        self.register_forward_pre_hook(lambda module, given: (given[0] * 2,))
        self.register_forward_hook(lambda module, given, output: output + 1)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x)


def halve(module: nn.Module, of_inputs: Any, of_outputs: Any) -> Any:
    return tuple(None if each is None else each * 0.5 for each in of_inputs)


class OwnBlock(nn.Module):
    """Keeps a lambda over itself."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.block: Any = lambda x: self.norm(self.linear(x)).relu()

    def forward(self, x: Tensor) -> Any:
        return self.block(x)


class OwnHook(nn.Module):
    """Hooks its part with a lambda over itself."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.linear.register_forward_hook(lambda module, given, output: output * self.scale)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x)


class OwnParts(nn.Module):
    """Keeps its steps in a plain dict: bound methods, and partials of them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.steps: dict[str, Any] = {"one": self.one, "two": partial(self.two, power=2)}

    def one(self, x: Tensor) -> Any:
        return self.linear(x)

    def two(self, x: Tensor, power: int) -> Tensor:
        return x.tanh() ** power

    def forward(self, x: Tensor) -> Any:
        return self.steps["two"](self.steps["one"](x))


class BoundHook(nn.Module):
    """Hooks its part with a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.linear.register_forward_hook(self.after)

    def after(self, module: nn.Module, given: Any, output: Tensor) -> Tensor:
        return output * self.scale

    def forward(self, x: Tensor) -> Any:
        return self.linear(x)


class Features(nn.Module):
    """Catches features of a part by a hook, and uses them further on."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
        self.caught: dict[str, Tensor] = {}
        self.layers[0].register_forward_hook(self.catch)

    def catch(self, module: nn.Module, given: Any, output: Tensor) -> None:
        self.caught["first"] = output

    def forward(self, x: Tensor) -> Any:
        return self.layers(x) + self.caught.pop("first")


def patched() -> nn.Module:
    """Replace the forward of an object, as tools for fine-tuning do."""
    module = nn.Linear(WIDTH, WIDTH)
    before = nn.Linear.forward

    def forward(self: nn.Linear, x: Tensor) -> Tensor:
        return before(self, x).tanh()

    module.forward = types.MethodType(forward, module)  # type: ignore[method-assign]
    return module


def wrapped() -> nn.Module:
    """Wrap the forward of an object in a closure over that forward."""
    module = nn.Linear(WIDTH, WIDTH)
    before = module.forward
    module.forward = lambda x: before(x).tanh()  # type: ignore[method-assign, assignment]
    return module


def borrowed() -> nn.Module:
    """Call a module that no attribute holds."""
    hidden = nn.Linear(WIDTH, WIDTH)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), Apply(lambda x: hidden(x).tanh()))


class Global(nn.Module):
    """Uses a weight that is global to its script, which no plain loop trains."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x) * WEIGHT


WEIGHT = torch.linspace(0.5, 1.5, WIDTH)

SEEN: dict[str, Tensor] = {}
"""Where a hook puts features for a loss."""


def note(module: nn.Module, given: Any, output: Tensor) -> None:
    SEEN["features"] = output


def watched() -> nn.Module:
    module = linear()
    module.register_forward_hook(note)
    return module


def with_features(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output, target) + SEEN["features"].square().mean()


def with_detached(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output, target) + SEEN["features"].detach().square().mean()


CLOSED = "closure|lambda|hook|reference of its own"

ENTRIES = {
    "hooks before, after and backward": Entry(lambda: around(Doubled())),
    "lambda over self": Entry(lambda: around(OwnBlock())),
    "hook that is a lambda over self": Entry(lambda: around(OwnHook())),
    "hook that is a method": Entry(lambda: around(BoundHook())),
    "methods in a dict": Entry(lambda: around(OwnParts())),
    "features caught by a hook, used in the forward": Entry(lambda: around(Features())),
    "forward replaced by a method": Entry(lambda: around(patched())),
    "forward wrapped in a closure": Entry(lambda: around(wrapped())),
    "module that only a closure holds": Entry(lambda: [linear(), borrowed(), head()]),
    "weight that is global": Entry(lambda: around(Global())),
    "features caught by a hook, used in the loss": Entry(
        lambda: [watched(), head()],
        loss=with_features,
        refused="loss .* more than the network's output",
        validated=False,
    ),
    "features caught by a hook, detached in the loss": Entry(
        lambda: [watched(), head()], loss=with_detached, apart=False, validated=False
    ),
}
