"""Write down what a model does, as a program for each mode: an `nn.Sequential` as it stands, others by tracing."""

from pathlib import Path
from traceback import extract_tb

import torch
from torch import nn

from akkordeon.errors import WiringError
from akkordeon.pieces import INPUT, UNKNOWN, Program, Ref, Step
from akkordeon.tracing import trace
from akkordeon.tree import Tree, map_leaves

__all__ = ["follow"]


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
        return {mode: trace(model.train(mode), inlined, _fresh(sample)) for mode in (True, False)}
    except Exception as error:
        remedy = "give a sample=, the x of a batch, if it looks at shapes; else " if sample is None else ""
        raise WiringError(
            f"{type(model).__name__} cannot be cut there, because its forward could not be followed{_where(error)}: "
            f"{error}. What to do: {remedy}change that line, cut elsewhere, or write the pieces as modules of your "
            'own, as Gate("stem", module, prefix="")'
        ) from error


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
