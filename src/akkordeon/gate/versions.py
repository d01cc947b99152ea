"""A gate's weights as immutable versions: what each batch was forwarded with stays as it was.

The optimizer steps the *live* parameters in place. Autograd refuses a backward through weights that were changed in
place since, and the ways around that silently give a wrong gradient. So modules never compute with the live
parameters, but with snapshots: clones, made at the first forward of a version, shared by all batches that were
forwarded at it, and freed with the last of them. Nobody locks, and nobody sees half an update.

Buffers (the statistics of BatchNorm) live outside the versions: each training computation gets copies of them, and
its result is published when it is done. Published buffers are never written either.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Buffers = Mapping[str, Tensor]
"""Buffers by name; neither the mapping nor the tensors are ever written."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The weights of one version.

    Args:
        version: updates applied before.
        tensors: one per parameter of the gate, in the order of `Weights.names`.
        trainable: those that require a gradient, in that order.
    """

    version: int
    tensors: tuple[Tensor, ...]
    trainable: tuple[Tensor, ...]


class Weights:
    """The live parameters and buffers of a module, and the versions taken of them.

    Args:
        module: whose parameters. A parameter that it holds in several places counts once.
    """

    def __init__(self, module: nn.Module) -> None:
        named = dict(module.named_parameters())
        self.names = tuple(named)
        self.live = tuple(named.values())
        self.trainable = tuple(parameter for parameter in self.live if parameter.requires_grad)
        self.buffers: Buffers = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
        self.version = 0
        # A frozen parameter has no gradient, so no optimizer ever writes it: it needs no clone.
        self._frozen = {n: p.detach() for n, p in enumerate(self.live) if not p.requires_grad}
        self._snapshot: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """Return the current version; the first call after an update clones the live weights."""
        if self._snapshot is None:
            trainable = _clones(self.trainable)
            tensors = trainable
            if self._frozen:
                own = iter(trainable)
                tensors = tuple(self._frozen[n] if n in self._frozen else next(own) for n in range(len(self.live)))
            self._snapshot = Snapshot(self.version, tensors, trainable)
        return self._snapshot

    def snapshot_of(self, trainable: Sequence[Tensor]) -> Snapshot:
        """Return the current version with other values for the weights that require a gradient; cloned if live."""
        own = iter(
            mine.detach().clone() if theirs is mine else theirs.detach()
            for mine, theirs in zip(self.trainable, trainable, strict=True)
        )
        tensors = tuple(next(own).requires_grad_() if each.requires_grad else each.detach() for each in self.live)
        return Snapshot(self.version, tensors, tuple(tensor for tensor in tensors if tensor.requires_grad))

    def update(self, gradients: Sequence[Tensor | None], step: Callable[[], None]) -> None:
        """Let something change the live weights; a new version begins.

        Args:
            gradients: one per trainable parameter, None where there is none.
            step: changes the weights; finds the gradients with the parameters.
        """
        for parameter, gradient in zip(self.trainable, gradients, strict=True):
            parameter.grad = gradient
        step()
        for parameter in self.trainable:
            parameter.grad = None
        self.version += 1
        self._snapshot = None

    def publish(self, before: Buffers, after: Buffers) -> None:
        """Take over the buffers that a computation left, if it was given `before`.

        Where others published in the meantime, what this one changed is added to theirs.
        """
        if self.buffers is before:
            self.buffers = after
        else:
            self.buffers = {name: _merge(current, before[name], after[name]) for name, current in self.buffers.items()}

    def state(self) -> dict[str, Tensor]:
        """Return copies of the live weights and the buffers, by name as in `nn.Module.state_dict`; in main memory."""
        live = zip(self.names, self.live, strict=True)
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in (*live, *self.buffers.items())}


@torch.no_grad()
def _clones(parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return copies that require a gradient, made in one call: each call lets other threads take the interpreter."""
    if not parameters:
        return ()
    return tuple(clone.requires_grad_() for clone in torch._foreach_clone(parameters))


def _merge(current: Tensor, before: Tensor, after: Tensor) -> Tensor:
    if current.dtype == torch.bool or current.shape != after.shape:
        return after
    return current + (after - before)
