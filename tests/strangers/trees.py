"""Makes models up: trees of odd modules, drawn from a seed.

A plan says what a model is made of, and is drawn apart from its weights, so that it can be printed, counted and built
any number of times.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from tests.strangers.entry import WIDTH, Chain, Entry
from tests.strangers.fields import (
    buffers,
    checkpointing,
    closures,
    flow,
    functions,
    modes,
    norms,
    parameters,
    parametrized,
    state,
    teachers,
)
from tests.strangers.parts import Apply, Residual, head, linear

Make = Callable[[], nn.Module]

LEAVES: dict[str, tuple[Make, ...]] = {
    "plain": (linear, lambda: nn.LayerNorm(WIDTH), lambda: nn.Linear(WIDTH, WIDTH)),
    "hook": (closures.Doubled, closures.BoundHook, closures.Features, functions.HookedTensor),
    "closure": (closures.OwnBlock, closures.OwnHook, closures.wrapped),
    "tied": (parameters.TiedTwice, parameters.Thrice, parameters.Unflattened),
    "buffer": (
        buffers.Begun,
        buffers.Remembered,
        buffers.Counted,
        buffers.Extremes,
        buffers.SharedByTwo,
        buffers.Relative,
        teachers.InBuffers,
        lambda: nn.BatchNorm1d(WIDTH),
        norms.Renorm,
    ),
    "mode": (lambda: modes.Overridden().train(), modes.FrozenBackbone, modes.Toggled, modes.ReadsMode, modes.Untracked),
    "attribute": (state.Annealed, state.Alternating, state.OwnNumbers, state.Recent, state.Noted),
    "data-dependent": (flow.OneOfThree, flow.Guarded, flow.ByShape, flow.Equilibrium, flow.Halting),
    "draws": (lambda: nn.Dropout(0.3), checkpointing.dropping, lambda: nn.AlphaDropout(0.2)),
    "function": (lambda: Apply(functions.Reverse.apply), functions.LearnedSwish, functions.ReversibleBlock),
    "parametrized": (parametrized.symmetric, parametrized.pruned),
}
"""What a leaf may be, by kind."""

WITHOUT_STATE = ("plain", "hook", "tied", "data-dependent", "draws", "function", "parametrized")
"""Kinds that are the same when their forward runs again, as in a checkpoint."""

MAY_BE_REFUSED = {"closure"}

KINDS = (*LEAVES, "checkpoint", "frozen", "in evaluation")
"""All that is counted."""


@dataclass(frozen=True)
class Plan:
    """What a module is made of.

    Args:
        kind: of leaf, or of what holds its parts.
        choice: which leaf of the kind.
        parts: of what is no leaf.
    """

    kind: str
    choice: int = 0
    parts: tuple["Plan", ...] = ()

    def kinds(self) -> Iterator[str]:
        """Yield all kinds in it."""
        yield self.kind
        for part in self.parts:
            yield from part.kinds()

    def __str__(self) -> str:
        inner = ", ".join(map(str, self.parts)) if self.parts else self.choice
        return f"{self.kind}({inner})"


def draw(number: int) -> list[Plan]:
    """Draw the pieces of a model."""
    numbers = random.Random(number)
    return [drawn(numbers, depth=2, stateful=True) for _ in range(numbers.choice((1, 2, 2, 3)))]


def drawn(numbers: random.Random, depth: int, *, stateful: bool) -> Plan:
    if not depth or numbers.random() < 0.25:
        kind = numbers.choice(tuple(LEAVES) if stateful else WITHOUT_STATE)
        return Plan(kind, numbers.randrange(len(LEAVES[kind])))
    kind = numbers.choice(("sequence", "sequence", "residual", "branches", "checkpoint", "frozen", "in evaluation"))
    if kind == "checkpoint" and not stateful:
        kind = "sequence"  # one inside another is an entry of the zoo
    count = numbers.randint(2, 3) if kind in ("sequence", "branches") else 1
    inside = stateful and kind != "checkpoint"
    parts = tuple(drawn(numbers, depth - 1, stateful=inside) for _ in range(count))
    return Plan(kind, numbers.randrange(2), parts)


class Branches(nn.Module):
    """The sum of what its branches make."""

    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> object:
        return sum(branch(x) for branch in self.branches) / len(self.branches)


def built(plan: Plan) -> nn.Module:
    """Make the module that a plan says."""
    if not plan.parts:
        return LEAVES[plan.kind][plan.choice]()
    parts = [built(part) for part in plan.parts]
    makers: dict[str, Make] = {
        "sequence": lambda: nn.Sequential(*parts),
        "residual": lambda: Residual(*parts),
        "branches": lambda: Branches(parts),
        "checkpoint": lambda: checkpointing.Again(*parts, reentrant=plan.choice == 1),
        "frozen": lambda: parts[0].requires_grad_(requires_grad=False),
        "in evaluation": parts[0].eval,
    }
    return makers[plan.kind]()


def entry_of(number: int) -> Entry:
    """Make an entry of a model that is made up."""
    plans = draw(number)

    def chain() -> Chain:
        return [*(built(plan) for plan in plans), head()]

    return Entry(chain)


def kinds_of(number: int) -> set[str]:
    """Return the kinds that occur in a model."""
    return {kind for plan in draw(number) for kind in plan.kinds()} & set(KINDS)
