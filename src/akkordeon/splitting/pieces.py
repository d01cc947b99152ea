"""The program of a model, and pieces that run parts of it with the model's own submodules.

The forward of a model, written down, is a list of steps: calls of its submodules, and between them the glue
(functions and methods of tensors). A cut divides that list. A value that a later piece needs from an earlier one
travels through the pieces in between: a single value as it is, several as a dict.

Steps are the nodes of an `fx.Graph` in a form that travels: a graph of 900 nodes can't be sent to another process
(pickling its linked list is too deep a recursion), and `fx.Interpreter` looks up all submodules in each run.
"""

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn

from akkordeon.messages.tree import Tree

UNKNOWN: Any = object()
"""Stands for the sample where there is none, and for values computed from it."""

INPUT = "x"
"""Name of the model's input among the values."""

LISTS = (list, fx.immutable_collections.immutable_list)
DICTS = (dict, fx.immutable_collections.immutable_dict)


@dataclass(frozen=True, slots=True)
class Result:
    """Stands in the arguments of a step for the result of an earlier one.

    Args:
        name: of that step.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a forward.

    Args:
        name: of its result, unique in its program.
        kind: opcode of `torch.fx`: "call_module", "call_function", "call_method" or "get_attr".
        target: the function, or the name of the method, submodule, parameter or buffer.
        args: positional arguments, with a `Result` for each value; the object of a method comes first.
        kwargs: keyword arguments, likewise.
    """

    name: str
    kind: str
    target: str | Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Program:
    """The forward of a model in one mode, or a part of it.

    Args:
        steps: in order.
        output: its return value, with a `Result` for each value.
        begins: index of the step of the first call of each submodule.
        takes: names of the values in its input; a single one comes as it is, several in a dict.
    """

    steps: tuple[Step, ...]
    output: Any
    begins: Mapping[str, int] = field(default_factory=dict)
    takes: tuple[str, ...] = (INPUT,)

    @property
    def called(self) -> list[str]:
        """Names of the submodules that are called, in order."""
        return [str(step.target) for step in self.steps if step.kind == "call_module"]

    def holders(self) -> Iterator[tuple[int, str]]:
        """Yield each use of a submodule, parameter or buffer: the index of the step, and the name."""
        for index, step in enumerate(self.steps):
            if step.kind in ("call_module", "get_attr"):
                yield index, str(step.target)

    def run(self, module: nn.Module, x: Tree) -> Tree:
        """Run the steps with the submodules of a module."""
        values = dict(x) if len(self.takes) > 1 else dict.fromkeys(self.takes, x)

        def fill(leaf: Any) -> Any:
            return values[leaf.name] if type(leaf) is Result else leaf

        for step in self.steps:
            args, kwargs = map_arguments(fill, step.args), map_arguments(fill, step.kwargs)
            values[step.name] = execute(step.kind, step.target, args, kwargs, module)
        return _portable(map_arguments(fill, self.output))


class Piece(nn.Module):
    """A piece of a model: some of its submodules, under their names in the model, and the glue between them.

    Args:
        training: its part of the program in training.
        evaluation: its part in evaluation.
    """

    def __init__(self, training: Program, evaluation: Program) -> None:
        super().__init__()
        self._programs = {True: training, False: evaluation}

    def forward(self, x: Tree) -> Tree:
        """Run the program of the current mode."""
        return self._programs[self.training].run(self, x)

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


def partition(program: Program, cuts: Sequence[int]) -> list[Program]:
    """Cut a program before the steps with these indices."""
    bounds = list(itertools.pairwise([0, *cuts, len(program.steps)]))
    made_in = {INPUT: 0}
    needed_in = dict.fromkeys(_names(program.output), len(cuts))
    for number, (start, end) in enumerate(bounds):
        for step in program.steps[start:end]:
            made_in[step.name] = number
            for name in _names((step.args, step.kwargs)):
                needed_in[name] = max(needed_in.get(name, 0), number)
    parts = []
    takes: tuple[str, ...] = (INPUT,)
    for number, (start, end) in enumerate(bounds):
        onward = tuple(name for name, made in made_in.items() if made <= number < needed_in.get(name, 0))
        gives = Result(onward[0]) if len(onward) == 1 else {name: Result(name) for name in onward}
        output = program.output if number == len(cuts) else gives
        parts.append(Program(program.steps[start:end], output, takes=takes))
        takes = onward
    return parts


def execute(
    kind: str, target: str | Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], module: nn.Module
) -> Any:
    """Execute a step with arguments that are values."""
    if not isinstance(target, str):
        return target(*args, **kwargs)
    if kind == "call_method":
        return getattr(args[0], target)(*args[1:], **kwargs)
    if kind == "call_module":
        return module.get_submodule(target)(*args, **kwargs)
    return attrgetter(target)(module)


def map_arguments(function: Callable[[Any], Any], given: Any) -> Any:
    """Apply `function` to each leaf of arguments; return plain lists and dicts instead of the immutable ones of fx."""
    kind = type(given)  # not `isinstance`: while tracing, stand-ins claim the types of their values
    if kind is tuple:
        return tuple(map_arguments(function, branch) for branch in given)
    if kind in LISTS:
        return [map_arguments(function, branch) for branch in given]
    if kind in DICTS:
        return {key: map_arguments(function, branch) for key, branch in given.items()}
    if kind is slice:
        return slice(*(map_arguments(function, branch) for branch in (given.start, given.stop, given.step)))
    return function(given)


def call(model: nn.Module, x: Tree, sample: Tree = UNKNOWN) -> Any:
    """Call a model with the input of a batch: a dict as keyword arguments, a tuple as positional, if it takes them.

    Args:
        model: or any callable.
        x: the input, or a stand-in.
        sample: an input of that structure; x itself by default.
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
    """Return the output of a model as a tree: an output class as a dict of its values, or as its only value.

    The models of Hugging Face return such classes.
    """
    if isinstance(output, dict) and type(output) is not dict:
        held = {key: plain(value) for key, value in output.items() if value is not None}
        return next(iter(held.values())) if len(held) == 1 else held
    if isinstance(output, tuple) and type(output) is not tuple:
        return tuple(plain(value) for value in output)
    return output


def tensors_of(model: nn.Module, name: str = "") -> list[tuple[str, Tensor]]:
    """Return the parameters and buffers of that name, or below it, under each of their names."""
    held = attrgetter(name)(model) if name else model
    if isinstance(held, Tensor):
        return [(name, held)]
    return [
        *held.named_parameters(prefix=name, remove_duplicate=False),
        *held.named_buffers(prefix=name, remove_duplicate=False),
    ]


def _names(given: Any) -> list[str]:
    """Return the names of the results in arguments."""
    leaves: list[Any] = []
    map_arguments(leaves.append, given)
    return [leaf.name for leaf in leaves if type(leaf) is Result]


def _portable(value: Any) -> Tree:
    """Return a value in a form that can travel: a size as a tuple."""
    if isinstance(value, torch.Size):
        return tuple(value)
    if type(value) is dict:
        return {key: _portable(branch) for key, branch in value.items()}
    return value
