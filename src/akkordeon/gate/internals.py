"""Puts tensors into the slots of modules, notes what forwards use; relies on torch's internals, as `tensors` does."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrize
from torch.utils import checkpoint

from akkordeon.gate.random_state import RANDOM_LOCK

Slots = list[tuple[dict[str, Tensor | None], str, int]]
"""Where tensors go: the dictionary of a submodule, the name in it, and which of the module's tensors."""


def parameter_slots(module: nn.Module) -> Slots:
    """Return every place in a module that holds one of its parameters; one may be held in several.

    Relies on `nn.Module._parameters`: a tensor that is no `nn.Parameter` may be put there. The public way is
    `torch.func.functional_call`, which costs 66 microseconds more per call; setting the attribute costs 5 more each.
    """
    index = {id(tensor): number for number, tensor in enumerate(module.parameters())}
    dictionaries: list[Any] = [part._parameters for part in module.modules()]  # may hold what is no nn.Parameter
    return [
        (each, name, index[id(tensor)]) for each in dictionaries for name, tensor in each.items() if tensor is not None
    ]


BufferSlots = list[tuple[dict[str, Tensor | None], str, str]]
"""Where buffers go: the dictionary of a submodule, the name in it, and the name in the whole module."""


def buffer_slots(module: nn.Module) -> BufferSlots:
    """Return every place in a module for one of its buffers, those included that are None now.

    Relies on `nn.Module._buffers`. A tensor that stands in several places has the first of its names in each.
    """
    names: dict[int, str] = {}
    found: BufferSlots = []
    for prefix, part in module.named_modules():
        for name, buffer in part._buffers.items():
            whole = f"{prefix}.{name}" if prefix else name
            found.append((part._buffers, name, whole if buffer is None else names.setdefault(id(buffer), whole)))
    return found


class Noted(threading.local):
    """What a forward on this thread did that concerns others; whoever wants to know resets it before.

    Attributes:
        checkpoint: it has checkpointed activations, so that the backward runs its module again. Relies on the classes
            that `torch.utils.checkpoint` uses once per call, one of them with `use_reentrant=True`.
        reentrant: it has some of these, whose backwards run within the backward.
        shared: it used what torch keeps once per process: it read or set the random generator, or entered a level of
            forward-mode differentiation. Relies on the names by which torch's own functions look these up.
    """

    checkpoint = reentrant = shared = False


noted = Noted()


class _NotedFrame(checkpoint._CheckpointFrame):
    def __init__(self, *args: Any) -> None:
        noted.checkpoint = True
        super().__init__(*args)


_forward = checkpoint.CheckpointFunction.forward


def _noted_forward(*args: Any) -> Any:
    noted.checkpoint = noted.reentrant = True
    return _forward(*args)  # type: ignore[no-untyped-call]


class _NotedGenerator:
    """The generator, to the functions of `torch.random`, one of them at a time: they may deadlock otherwise."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._generator, name)
        return partial(self._call, value) if callable(value) else value

    def _call(self, method: Callable[..., Any], *args: Any) -> Any:
        noted.shared = True
        with RANDOM_LOCK:  # torch holds its own over code of Python here: two threads at once may wait for ever
            return method(*args)


_enter_dual_level = forward_ad.enter_dual_level


def _noted_dual_level() -> Any:
    noted.shared = True
    return _enter_dual_level()  # type: ignore[no-untyped-call]


checkpoint._CheckpointFrame = _NotedFrame  # type: ignore[misc, assignment]
checkpoint.CheckpointFunction.forward = staticmethod(_noted_forward)  # type: ignore[method-assign]
torch.random.default_generator = _NotedGenerator(torch.default_generator)  # type: ignore[assignment, attr-defined]
forward_ad.enter_dual_level = _noted_dual_level


def parametrization_cache() -> object:
    """Return what `torch.nn.utils.parametrize.cached` fills, for all threads; torch makes a new one when it is left."""
    return parametrize._cache
