"""Keeps a gate's weights as immutable versions: what each batch was forwarded with stays as it was.

The optimizer steps the *live* parameters in place. Autograd refuses a backward through weights that were changed in
place since, and the ways around that silently give a wrong gradient. So modules never compute with the live
parameters, but with snapshots: clones, made at the first forward of a version, shared by all batches that were
forwarded at it, and freed with the last of them. No lock is needed, and no computation sees half an update.

Buffers (the statistics of BatchNorm) live outside the versions: each training computation gets copies of them, and
its result is published when it is done. Published buffers are never written either.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from akkordeon.gate.buffers import merge, running_means, spoils
from akkordeon.gate.parameters import NamedTensors
from akkordeon.tensors import clones


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
        module: has the parameters. One that it holds in several places counts once.

    Attributes:
        names: of the parameters, as in `nn.Module.named_parameters`.
        live: the parameters that the optimizer changes, in that order.
        trainable: those that require a gradient, in that order.
        buffers: of the latest computation that was published; neither the mapping nor the tensors are ever written.
        version: updates so far.
        moving: names of frozen parameters that the module writes in its forward; they are among the buffers.
    """

    def __init__(self, module: nn.Module) -> None:
        named = dict(module.named_parameters())
        self.names = tuple(named)
        self.live = tuple(named.values())
        self.trainable = tuple(parameter for parameter in self.live if parameter.requires_grad)
        self.buffers: NamedTensors = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
        self.version = 0
        self._means = running_means(module)
        # A frozen parameter has no gradient, so no optimizer ever writes it: it needs no clone.
        self.moving: frozenset[str] = frozenset()
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

    def set_gradients(self, gradients: Sequence[Tensor | None]) -> None:
        """Put gradients where an optimizer looks for them: one per trainable parameter, None where there is none."""
        for parameter, gradient in zip(self.trainable, gradients, strict=True):
            parameter.grad = gradient

    def begin_version(self) -> None:
        """Note that the live weights have changed; the gradients are used up."""
        for parameter in self.trainable:
            parameter.grad = None
        self.version += 1
        self._snapshot = None

    def move(self, indices: Sequence[int]) -> None:
        """Treat frozen parameters as buffers from now on."""
        values = {self.names[i]: self.live[i].detach().clone() for i in indices}
        self.moving |= values.keys()
        self.buffers = {**self.buffers, **values}
        self._frozen = {n: p.detach() for n, p in enumerate(self.live) if not p.requires_grad}
        self._snapshot = None

    def publish(self, before: NamedTensors, after: NamedTensors) -> bool:
        """Take over the buffers that a computation left; return whether that could be done.

        Rule: a NaN or an infinity is not taken over, since the batch that brought it is not learned from either.
        It cannot be done where only the order of computations tells what the buffers are, and another one has
        published in the meantime.

        Args:
            before: what the computation was given.
            after: what it left.
        """
        if spoils(before, after):
            return True
        merged = after if self.buffers is before else merge(self.buffers, before, after, self._means)
        if merged is None:
            return False
        self.buffers = merged
        return True

    def state(self) -> dict[str, Tensor]:
        """Return copies of the live weights and the buffers, by name as in `nn.Module.state_dict`; in main memory."""
        live = zip(self.names, self.live, strict=True)
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in (*live, *self.buffers.items())}


@torch.no_grad()
def _clones(parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return copies that require a gradient."""
    return tuple(clone.requires_grad_() for clone in clones(parameters)) if parameters else ()
