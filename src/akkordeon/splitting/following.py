"""Writes the forward of a model down as a program for each mode: an `nn.Sequential` as it is, others by tracing."""

import inspect
from contextlib import ExitStack
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import fx, nn

from akkordeon.errors import WiringError
from akkordeon.messages.tree import Tree, map_leaves
from akkordeon.splitting.pieces import INPUT, UNKNOWN, Program, Result, Step, call, map_arguments, plain, tensors_of
from akkordeon.splitting.tracing import FACTORIES, WHOLE, Factories, Tracer


def follow(model: nn.Module, inlined: frozenset[str], sample: Tree | None) -> dict[bool, Program]:
    """Return the programs of a model in training (True) and in evaluation (False).

    Args:
        model: is changed.
        inlined: names of the submodules to look into, including the whole model ("").
        sample: an input, or None.

    Raises:
        WiringError: its forward cannot be followed; names the line, the reason and the remedy.
    """
    if all(_is_sequence(model.get_submodule(name)) for name in inlined):
        program = _sequence(model, inlined)
        return {True: program, False: program}
    try:
        return {mode: _trace(model.train(mode), inlined, sample) for mode in (True, False)}
    except Exception as error:
        remedy = "give a sample=, the x of a batch, if it looks at shapes; else " if sample is None else ""
        raise WiringError(
            f"{type(model).__name__} cannot be cut there, because its forward could not be followed{_where(error)}: "
            f"{error}. What to do: {remedy}change that line, cut elsewhere, or write the pieces as modules of your "
            'own, as Gate("stem", module, prefix="")'
        ) from error


def _trace(model: nn.Module, inlined: frozenset[str], sample: Tree | None) -> Program:
    """Write down the forward of a model in its current mode."""
    x = UNKNOWN if sample is None else map_leaves(torch.clone, sample)
    tracer = Tracer(model, inlined, x)
    forwards = [inspect.unwrap(type(model.get_submodule(name)).forward) for name in inlined]
    files = {forward.__module__: forward.__globals__ for forward in forwards}
    with ExitStack() as patches, torch.no_grad(), torch.random.fork_rng(devices=[]):
        for namespace in files.values():
            patches.enter_context(tracer.patched(namespace))
        patches.enter_context(tracer.patched(vars(torch), FACTORIES))
        patches.enter_context(Factories(tracer))
        graph = tracer.trace(_Whole(model, x))
    _, *nodes, output = graph.nodes
    begins = {name: nodes[index] for name, index in tracer.calls.items() if index < len(nodes)}
    _read_beside_owners(graph, tracer.root)
    _, *nodes, _ = graph.nodes
    indices = {node: index for index, node in enumerate(nodes)}
    steps = tuple(map(_as_step, nodes))
    return Program(steps, _refer(output.args[0]), {name: indices[node] for name, node in begins.items()})


class _Whole(nn.Module):
    def __init__(self, model: nn.Module, sample: Tree) -> None:
        super().__init__()
        self.model = model
        self._sample = sample

    def forward(self, x: Tree) -> Tree:
        return plain(call(self.model, x, self._sample))


def _read_beside_owners(graph: fx.Graph, root: nn.Module) -> None:
    """Move each read of a parameter or buffer behind an earlier use, so that one piece has both."""
    owners: dict[int, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op not in ("call_module", "get_attr"):
            continue
        tensors = [id(tensor) for _, tensor in tensors_of(root, str(node.target))]
        if node.op == "get_attr" and tensors[0] in owners:
            owners[tensors[0]].append(node)
        for tensor in tensors:
            owners.setdefault(tensor, node)


def _is_sequence(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return type(module).forward is nn.Sequential.forward and not any(hooks)


def _sequence(model: nn.Module, inlined: frozenset[str]) -> Program:
    """Write down an `nn.Sequential`. Tracing would find a module that stands in two places under one name only."""
    begins: dict[str, int] = {}
    steps: list[Step] = []
    given = INPUT
    for name, _ in model.named_modules(remove_duplicate=False):
        if name.rpartition(".")[0] not in inlined:
            continue
        begins[name] = len(steps)
        if name not in inlined:
            steps.append(Step(f"{name} {len(steps)}", "call_module", name, (Result(given),)))
            given = steps[-1].name
    return Program(tuple(steps), Result(given), begins)


def _where(error: Exception) -> str:
    """Return the line of the user, or of a library other than torch, that an error comes from."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    return f" past line {frames[-1].lineno} of {Path(frames[-1].filename).name}" if frames else ""


def _as_step(node: fx.Node) -> Step:
    target = node.target.removeprefix(WHOLE) if node.op in ("call_module", "get_attr") else node.target  # type: ignore[union-attr]
    return Step(node.name, node.op, target, _refer(node.args), _refer(node.kwargs))


def _refer(given: Any) -> Any:
    """Return arguments with a `Result` for each node."""

    def name(leaf: Any) -> Any:
        if not isinstance(leaf, fx.Node):
            return leaf
        return Result(INPUT if leaf.op == "placeholder" else leaf.name)

    return map_arguments(name, given)
