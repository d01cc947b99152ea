"""The places where a model may be cut: names of its submodules, and the steps of its program they begin at."""

import difflib
import itertools
from collections.abc import Sequence

from torch import nn

from akkordeon.cutting.pieces import HOLDERS, Program, tensors_of
from akkordeon.errors import WiringError

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def resolve(model: nn.Module, at: Sequence[str]) -> list[str]:
    """Return the names of submodules, having checked that there are such.

    Raises:
        WiringError: there is none of a name, or one is named twice.
    """
    if isinstance(at, str):
        raise WiringError(f'at is a list of names of submodules, not a single one; write at=["{at}"]')
    there = dict(model.named_modules(remove_duplicate=False))
    for name in at:
        if not name or name not in there:
            raise WiringError(f"{type(model).__name__} has no submodule {name!r}{_hint(name, model)}")
    if twice := [name for name in at if list(at).count(name) > 1]:
        raise WiringError(f"{twice[0]!r} is named twice in at={list(at)}; a gate begins there only once")
    return list(at)


def begin_of(name: str, program: Program, model: nn.Module) -> int:
    """Return the index of the step that a submodule begins with.

    Raises:
        WiringError: it is never called, or does not say which of several places is meant.
    """
    first = next(there for there, module in model.named_modules() if module is model.get_submodule(name))
    if name not in program.begins and first in program.begins:
        raise WiringError(f"{name!r} is the same module as {first!r}, where no gate can begin twice; name another")
    if is_ambiguous(name, program, model):
        raise WiringError(f"{name!r} is called more than once, so it does not say where to cut; name another")
    if name not in program.begins:
        raise WiringError(
            f"{name!r} is not called in the forward of {type(model).__name__}, or only its weights are used, "
            f"so no gate can begin with it; those called are: {_some(list(program.begins))}"
        )
    return program.begins[name]


def is_ambiguous(name: str, program: Program, model: nn.Module) -> bool:
    """Whether a submodule is called in several places, and nothing that it holds keeps these in one gate."""
    calls = sum(step.kind == "call_module" and step.target == name for step in program.steps)
    return calls > 1 and not tensors_of(model, name)


def check_order(at: Sequence[str], cuts: Sequence[int], program: Program) -> None:
    """Check that submodules are named in the order in which they are called, with something between them.

    Raises:
        WiringError: they are not.
    """
    for (one, first), (other, second) in itertools.pairwise(zip(at, cuts, strict=True)):
        if first > second:
            raise WiringError(f"{one!r} is called after {other!r}; name them in the order in which they are called")
    bounds = [0, *cuts, len(program.steps)]
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        if any(step.kind in HOLDERS for step in program.steps[start:end]):
            continue
        if number == 0 and at:
            raise WiringError(
                f"{at[0]!r} is the first submodule that is called, so the first gate would be empty; "
                "a first gate is there without being named, so leave the name out"
            )
        if at:
            raise WiringError(
                f"no submodule is called between {at[number - 1]!r} and "
                f"{at[number] if number < len(at) else 'the end'!r}, so a gate would be empty; leave one of them out"
            )


def openable(model: nn.Module) -> frozenset[str]:
    """Return the names of the submodules to look into for places to cut, where none are given.

    These are the containers, and what they are in; what is in a container is a block, which stays whole.
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
    """Say which names come close, or are there where this one is looked for."""
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
