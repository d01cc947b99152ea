"""Places to cut a model: names of submodules, and the steps of its program that they begin at."""

import difflib
import itertools
from collections.abc import Sequence

from torch import nn

from akkordeon.errors import WiringError
from akkordeon.splitting.pieces import Program, tensors_of

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def resolve(model: nn.Module, at: Sequence[str]) -> list[str]:
    """Return the names of submodules, checked.

    Raises:
        WiringError: a name is unknown or given twice.
    """
    if isinstance(at, str):
        raise WiringError(f'at must be a list of names of submodules, not a single one; write at=["{at}"]')
    there = dict(model.named_modules(remove_duplicate=False))
    for name in at:
        if not name or name not in there:
            raise WiringError(f"{type(model).__name__} has no submodule {name!r}{_hint(name, model)}")
    if twice := [name for name in at if list(at).count(name) > 1]:
        raise WiringError(f"{twice[0]!r} is named twice in at={list(at)}; name each place once")
    return list(at)


def begin_of(name: str, program: Program, model: nn.Module) -> int:
    """Return the index of the step that a submodule begins with.

    Raises:
        WiringError: it is never called, or is called in several places.
    """
    first = next(there for there, module in model.named_modules() if module is model.get_submodule(name))
    if name not in program.begins and first in program.begins:
        raise WiringError(f"{name!r} is the same module as {first!r}, where no gate can begin twice; name another")
    if is_ambiguous(name, program, model):
        raise WiringError(f"{name!r} is called more than once, so the place to cut is ambiguous; name another")
    if name not in program.begins:
        raise WiringError(
            f"{name!r} is not called in the forward of {type(model).__name__} (at most its weights are used), "
            f"so no gate can begin with it; called are: {_some(list(program.begins))}"
        )
    return program.begins[name]


def is_ambiguous(name: str, program: Program, model: nn.Module) -> bool:
    """Whether a submodule without parameters and buffers, which would keep its calls in one gate, is called twice."""
    return sum(holder == name for _, holder in program.holders()) > 1 and not tensors_of(model, name)


def check_order(at: Sequence[str], cuts: Sequence[int], program: Program) -> None:
    """Check that submodules are named in the order of their calls, and that no gate is empty.

    Raises:
        WiringError: they are not in order, or nothing is called between two of them.
    """
    bounds = list(itertools.pairwise([*zip(at, cuts, strict=True), ("the end", len(program.steps))]))
    for (one, start), (other, end) in bounds:
        if start > end:
            raise WiringError(f"{one!r} is called after {other!r}; name them in the order of their calls")
    used = [index for index, _ in program.holders()]
    if at and not any(index < cuts[0] for index in used):
        raise WiringError(f"{at[0]!r} is the first submodule that is called; leave it out: the first gate begins there")
    for (one, start), (other, end) in bounds:
        if not any(start <= index < end for index in used):
            raise WiringError(f"no submodule is called between {one!r} and {other!r}; leave out one of them")


def openable(model: nn.Module) -> frozenset[str]:
    """Return the names of the submodules to look into for places to cut, if none are given.

    These are the containers, and the modules around them; the modules in a container are blocks, which stay whole.
    """
    opened: set[str] = {""}

    def look_into(parent: nn.Module, prefix: str) -> None:
        for own, child in parent.named_children():
            if _is_container(child) or (not _is_container(parent) and any(map(_is_container, child.modules()))):
                opened.add(prefix + own)
                look_into(child, f"{prefix}{own}.")

    look_into(model, "")
    return frozenset(opened)


def _is_container(module: nn.Module) -> bool:
    return type(module) in CONTAINERS


def _hint(name: str, model: nn.Module) -> str:
    """Suggest the closest name, and list the names at the level where this one is missing."""
    names = [there for there, _ in model.named_modules() if there]
    close = difflib.get_close_matches(str(name), names, n=1)
    path = str(name).split(".")[:-1]
    while path and ".".join(path) not in names:
        path.pop()
    prefix = ".".join([*path, ""])
    there = [prefix + own for own, _ in model.get_submodule(".".join(path)).named_children()]
    meant = f"; did you mean {close[0]!r}?" if close else "."
    return f"{meant} There {'is' if len(there) == 1 else 'are'}: {_some(there)}"


def _some(names: Sequence[str], limit: int = 12) -> str:
    shown = [name for name in names if name][:limit]
    return ", ".join(shown) + (f", … ({len(names)} in all)" if len(names) > limit else "")
