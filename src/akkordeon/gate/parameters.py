"""Reads and fills the parameters and buffers that a module's state dict holds."""

from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from akkordeon.gate.internals import buffer_slots

NamedTensors = Mapping[str, Tensor]
"""Parameters or buffers, by their names in a module."""


def kept(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers that a state dict of the module would hold, each once."""
    names = module.state_dict(keep_vars=True).keys()
    tensors = chain(module.named_parameters(), module.named_buffers())
    return {name: tensor for name, tensor in tensors if name in names}


def fill(module: nn.Module, tensors: NamedTensors) -> None:
    """Copy tensors into a module's parameters and buffers of those names; buffers take their shapes."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in tensors:
                parameter.copy_(tensors[name])
    held, copies = dict(module.named_buffers()), dict[str, Tensor]()
    for slots, key, name in buffer_slots(module):
        if name in tensors:
            like = held.get(name, tensors[name])
            # One that stands in several places stays one.
            copies.setdefault(name, tensors[name].detach().to(like.device, copy=True))
            slots[key] = copies[name]
    known = {*dict(module.named_parameters()), *(name for _, _, name in buffer_slots(module))}
    for name in tensors.keys() - known:  # registered in a forward
        path, _, key = name.rpartition(".")
        module.get_submodule(path).register_buffer(key, tensors[name].detach().clone())
