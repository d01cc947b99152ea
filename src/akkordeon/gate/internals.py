"""Puts tensors into the slots of modules, and notices checkpoints; relies on torch's internals, as `tensors` does."""

import threading
from typing import Any

from torch import Tensor, nn
from torch.utils import checkpoint

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


class Checkpoints(threading.local):
    """Tells whether a forward on this thread has checkpointed activations, which runs its module in the backward again.

    Relies on the class of which `torch.utils.checkpoint` makes one per call, unless `use_reentrant=True`.

    Attributes:
        seen: is set to True then.
    """

    seen = False


checkpoints = Checkpoints()


class _NotedFrame(checkpoint._CheckpointFrame):
    def __init__(self, *args: Any) -> None:
        checkpoints.seen = True
        super().__init__(*args)


checkpoint._CheckpointFrame = _NotedFrame  # type: ignore[misc, assignment]
