"""Write down what a model does, as a program for each mode: an `nn.Sequential` as it stands, others by tracing."""

import inspect
from contextlib import ExitStack
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import fx, nn

from akkordeon.cutting.pieces import INPUT, UNKNOWN, Program, Ref, Step, beside_owners, call, plain
from akkordeon.cutting.tracing import FACTORIES, WHOLE, Factories, Tracer
from akkordeon.errors import WiringError
from akkordeon.tree import Tree, map_leaves


def follow(model: nn.Module, inlined: frozenset[str], sample: Tree | None) -> dict[bool, Program]:
    """Return the programs of a model in training (True) and in evaluation.

    Args:
        model: is changed.
        inlined: names of the submodules to look into, the whole model ("") among them.
        sample: an input, or None.

    Raises:
        WiringError: its forward cannot be followed; says where, why, and what to do.
    """
    if all(_is_sequence(model.get_submodule(name)) for name in inlined):
        program = _sequence(model, inlined)
        return {True: program, False: program}
    try:
        return {mode: _trace(model.train(mode), inlined, _fresh(sample)) for mode in (True, False)}
    except Exception as error:
        remedy = "give a sample=, the x of a batch, if it looks at shapes; else " if sample is None else ""
        raise WiringError(
            f"{type(model).__name__} cannot be cut there, because its forward could not be followed{_where(error)}: "
            f"{error}. What to do: {remedy}change that line, cut elsewhere, or write the pieces as modules of your "
            'own, as Gate("stem", module, prefix="")'
        ) from error


def _trace(model: nn.Module, inlined: frozenset[str], sample: Tree) -> Program:
    """Write down the forward of a model, in the mode it is in."""
    tracer = Tracer(model, inlined, sample)
    forwards = [inspect.unwrap(type(model.get_submodule(name)).forward) for name in inlined]
    files = {forward.__module__: forward.__globals__ for forward in forwards}
    with ExitStack() as patches, torch.no_grad(), torch.random.fork_rng(devices=[]):
        for namespace in files.values():
            patches.enter_context(tracer.patched(namespace))
        patches.enter_context(tracer.patched(vars(torch), FACTORIES))
        patches.enter_context(Factories(tracer))
        graph = tracer.trace(_Whole(model, sample))
    nodes = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
    begins = {name: nodes[index].name for name, index in tracer.calls.items() if index < len(nodes)}
    (output,) = (node for node in graph.nodes if node.op == "output")
    steps = beside_owners([_as_step(node) for node in nodes], model)
    index_of = {step.name: index for index, step in enumerate(steps)}
    return Program(tuple(steps), _referring(output.args[0]), {name: index_of[node] for name, node in begins.items()})


class _Whole(nn.Module):
    def __init__(self, model: nn.Module, sample: Tree) -> None:
        super().__init__()
        self.model = model
        self._sample = sample

    def forward(self, x: Tree) -> Tree:
        return plain(call(self.model, x, self._sample))


def _is_sequence(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return type(module).forward is nn.Sequential.forward and not any(hooks)


def _sequence(model: nn.Module, inlined: frozenset[str]) -> Program:
    """Write down an `nn.Sequential`, which needs no tracing."""
    steps: list[Step] = []
    begins: dict[str, int] = {}
    given = INPUT

    def walk(module: nn.Module, prefix: str) -> None:
        nonlocal given
        for own, child in module._modules.items():
            assert child is not None
            name = prefix + own
            begins.setdefault(name, len(steps))
            if name in inlined:
                walk(child, f"{name}.")
            else:
                steps.append(Step(f"{name} {len(steps)}", "call_module", name, (Ref(given),)))
                given = steps[-1].name

    walk(model, "")
    return Program(tuple(steps), Ref(given), begins)


def _fresh(sample: Tree | None) -> Tree:
    return UNKNOWN if sample is None else map_leaves(torch.clone, sample)


def _where(error: Exception) -> str:
    """Say which line of the user's, or of a library other than torch, an error comes from."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    return f" past line {frames[-1].lineno} of {Path(frames[-1].filename).name}" if frames else ""


def _as_step(node: fx.Node) -> Step:
    target = node.target.removeprefix(WHOLE) if node.op in ("call_module", "get_attr") else node.target  # type: ignore[union-attr]
    return Step(node.name, node.op, target, _referring(node.args), _referring(dict(node.kwargs)))


def _referring(given: Any) -> Any:
    """Return arguments with references for nodes, and with plain lists and dicts, which fx makes immutable."""
    match given:
        case fx.Node():
            return Ref(INPUT if given.op == "placeholder" else given.name)
        case list():
            return [_referring(branch) for branch in given]
        case tuple() if type(given) is tuple:
            return tuple(_referring(branch) for branch in given)
        case dict():
            return {key: _referring(branch) for key, branch in given.items()}
        case slice(start=start, stop=stop, step=step):
            return slice(_referring(start), _referring(stop), _referring(step))
        case _:
            return given
