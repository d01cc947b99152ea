"""Reads and fills the parameters and buffers that a module's state dict holds."""

from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn

NamedTensors = Mapping[str, Tensor]
"""Parameters or buffers, by their names in a module."""


def kept(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers that a state dict of the module would hold, each once."""
    names = module.state_dict(keep_vars=True).keys()
    tensors = chain(module.named_parameters(), module.named_buffers())
    return {name: tensor for name, tensor in tensors if name in names}


def fill(module: nn.Module, tensors: NamedTensors) -> None:
    """Copy tensors into a module's parameters and buffers of those names."""
    with torch.no_grad():
        for name, tensor in chain(module.named_parameters(), module.named_buffers()):
            if name in tensors:
                tensor.copy_(tensors[name])
