"""A model as a list of steps, and pieces of it that run some of these steps with the model's own submodules.

The forward of a model, written down, is a list of steps: calls of its submodules, and between them the glue
(functions and methods of tensors). Cutting it is cutting that list. What a later piece needs of an earlier one is
passed along past those in between: a single value as it is, several as a dict.
"""

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from akkordeon.tree import Tree

UNKNOWN: Any = object()
"""The sample, where there is none; the value of what is computed then."""

INPUT = "x"
"""What the input of the first piece is called among the values."""


HOLDERS = ("call_module", "get_attr")
"""Kinds of steps that need a parameter or buffer of the model."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands in the arguments of a step for what an earlier one gave.

    Args:
        name: of that step.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a forward does.

    Args:
        name: of what it gives, unique in its program.
        kind: "call_module", "call_function", "call_method" or "get_attr", as in `torch.fx`.
        target: the function, or the name of the method, submodule, parameter or buffer.
        args: positional arguments, with a `Ref` for each value; of a method the object comes first.
        kwargs: keyword arguments, likewise.
    """

    name: str
    kind: str
    target: str | Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """What the forward of a model does, in one mode.

    Args:
        steps: in order.
        output: what it returns, with a `Ref` for each value.
        begins: at which step each submodule is called first.
    """

    steps: tuple[Step, ...]
    output: Any
    begins: Mapping[str, int]

    def uses(self, model: nn.Module) -> dict[int, list[tuple[int, str]]]:
        """Return, by identity of each parameter and buffer, the steps that use it, and by which name."""
        found: dict[int, list[tuple[int, str]]] = {}
        for index, step in enumerate(self.steps):
            if step.kind in HOLDERS:
                for name, tensor in tensors_of(model, str(step.target)):
                    found.setdefault(id(tensor), []).append((index, name))
        return found


@dataclass(frozen=True, slots=True)
class Part:
    """The steps of a program that one piece runs.

    Args:
        takes: the values it is given; a single one comes as it is, several in a dict.
        steps: in order.
        gives: what it returns, with a `Ref` for each value.
    """

    takes: tuple[str, ...]
    steps: tuple[Step, ...]
    gives: Any

    def run(self, module: nn.Module, x: Tree) -> Tree:
        """Run the steps with the submodules of a module."""
        values = dict(x) if len(self.takes) > 1 else dict.fromkeys(self.takes, x)
        for step in self.steps:
            args, kwargs = _fill(step.args, values), _fill(dict(step.kwargs or {}), values)
            values[step.name] = execute(step.kind, step.target, args, kwargs, module)
        return _portable(_fill(self.gives, values))


class Piece(nn.Module):
    """A piece of a model: some of its submodules, under their names in it, and the glue between them.

    Args:
        training: what it does in training.
        evaluation: what it does in evaluation.
    """

    def __init__(self, training: Part, evaluation: Part) -> None:
        super().__init__()
        self._parts = {True: training, False: evaluation}

    def forward(self, x: Tree) -> Tree:
        """Run the steps of the mode that the module is in."""
        return self._parts[self.training].run(self, x)

    def take_over(self, model: nn.Module, name: str) -> None:
        """Hold a submodule, parameter or buffer of a model under its name there; the model keeps it, too."""
        *path, last = name.split(".")
        parent: nn.Module = self
        for part in path:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        owner = model.get_submodule(".".join(path))
        if parent is owner:  # its whole submodule is held already
            return
        if last in owner._modules:
            parent._modules[last] = owner._modules[last]
        elif last in owner._parameters:
            parent._parameters[last] = owner._parameters[last]
        else:
            parent.register_buffer(last, owner._buffers[last], persistent=last not in owner._non_persistent_buffers_set)


def partition(program: Program, cuts: Sequence[int]) -> list[Part]:
    """Cut a program before the steps of these indices."""
    bounds = [0, *cuts, len(program.steps)]
    made_in = {INPUT: 0}
    needed_in = {name: len(cuts) for name in _names(program.output)}
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        for step in program.steps[start:end]:
            made_in[step.name] = number
            for name in _names((step.args, step.kwargs)):
                needed_in[name] = max(needed_in.get(name, 0), number)
    parts = []
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        takes = tuple(n for n, made in made_in.items() if made < number <= needed_in.get(n, 0)) if number else (INPUT,)
        onward = [n for n, made in made_in.items() if made <= number < needed_in.get(n, 0)]
        gives = Ref(onward[0]) if len(onward) == 1 else {n: Ref(n) for n in onward}
        parts.append(Part(takes, program.steps[start:end], program.output if number == len(cuts) else gives))
    return parts


def beside_owners(steps: list[Step], model: nn.Module) -> list[Step]:
    """Return steps that read each parameter and buffer where a submodule holding it is called, if it was before."""
    owners: dict[int, Step] = {}
    following: dict[str, list[Step]] = {}
    result = []
    for step in steps:
        tensors = [tensor for _, tensor in tensors_of(model, str(step.target))] if step.kind in HOLDERS else []
        if step.kind == "get_attr" and id(tensors[0]) in owners:
            following.setdefault(owners[id(tensors[0])].name, []).append(step)
            continue
        result.append(step)
        for tensor in tensors:
            owners.setdefault(id(tensor), step)
    return [each for step in result for each in (step, *following.get(step.name, ()))]


def execute(
    kind: str, target: str | Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], module: nn.Module
) -> Any:
    """Do what a step says, with arguments that are values."""
    if not isinstance(target, str):
        return target(*args, **kwargs)
    if kind == "call_method":
        return getattr(args[0], target)(*args[1:], **kwargs)
    if kind == "call_module":
        return module.get_submodule(target)(*args, **kwargs)
    path, _, last = target.rpartition(".")
    return getattr(module.get_submodule(path), last)


def call(model: nn.Module, x: Tree, sample: Tree = UNKNOWN) -> Any:
    """Call a model with the input of a batch: a dict as keyword arguments, a tuple as positional, if it takes them.

    Args:
        model: or any callable.
        x: the input, or what stands for it.
        sample: an input of that structure; x itself if it is left out.
    """
    known = x if sample is UNKNOWN else sample
    if type(known) is dict and _takes(model, **known):
        return model(**{key: x[key] for key in known})
    if type(known) is tuple and _takes(model, *known):
        return model(*(x[index] for index in range(len(known))))
    return model(x)


def _takes(model: nn.Module, *args: Any, **kwargs: Any) -> bool:
    try:
        inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def plain(output: Any) -> Tree:
    """Return what a model returned as a tree: an output class as a dict of what it holds, or that, if it is one thing.

    Hugging Face's models return such a class.
    """
    if isinstance(output, dict) and type(output) is not dict:
        held = {key: plain(value) for key, value in output.items() if value is not None}
        return next(iter(held.values())) if len(held) == 1 else held
    if isinstance(output, tuple) and type(output) is not tuple:
        return tuple(plain(value) for value in output)
    return output


def tensors_of(model: nn.Module, name: str = "") -> list[tuple[str, Tensor]]:
    """Return the parameters and buffers below a name in a model, or of that name, with each name that they have."""
    path, _, last = name.rpartition(".")
    parent = model.get_submodule(path)
    for held in (parent._parameters, parent._buffers):
        if name and (tensor := held.get(last)) is not None:
            return [(name, tensor)]
    below = model.get_submodule(name)
    return [
        *below.named_parameters(prefix=name, remove_duplicate=False),
        *below.named_buffers(prefix=name, remove_duplicate=False),
    ]


def _fill(given: Any, values: Mapping[str, Any]) -> Any:
    """Put values in the place of references."""
    match given:
        case Ref(name):
            return values[name]
        case tuple() | list() if type(given) in (tuple, list):
            return type(given)(_fill(branch, values) for branch in given)
        case dict():
            return {key: _fill(branch, values) for key, branch in given.items()}
        case slice(start=start, stop=stop, step=step):
            return slice(_fill(start, values), _fill(stop, values), _fill(step, values))
        case _:
            return given


def _names(given: Any) -> Iterable[str]:
    """Yield the names of the references in arguments."""
    match given:
        case Ref(name):
            yield name
        case tuple() | list():
            for branch in given:
                yield from _names(branch)
        case dict():
            yield from _names(list(given.values()))
        case slice(start=start, stop=stop, step=step):
            yield from _names((start, stop, step))


def _portable(value: Any) -> Tree:
    """Return a value as it can travel: a size as a tuple."""
    if isinstance(value, torch.Size):
        return tuple(value)
    if type(value) is dict:
        return {key: _portable(branch) for key, branch in value.items()}
    return value
