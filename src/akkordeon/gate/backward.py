"""Computes the gradients of one batch: of a gate's weights, and of its inputs."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from akkordeon.gate.parameters import NamedTensors
from akkordeon.gate.versions import Snapshot
from akkordeon.tensors import all_finite, differentiate, moved


class Reused(Protocol):
    """What a backward runs again."""

    def once_more(self) -> AbstractContextManager[None]:
        """Enter for the backward."""

    def buffers_left(self) -> NamedTensors:
        """Return the buffers as it leaves them."""


@dataclass(frozen=True, slots=True)
class Graph:
    """What a backward needs of a forward.

    Args:
        inputs: the tensors of the input, detached; those that a gradient is wanted of require one.
        outputs: the tensors of the output, with their graph.
        snapshot: the weights the forward used.
        replica: that the graph may use again, and that runs nothing else until then; None where it is not needed.
        buffers: as the forward left them in that replica.
        reentrant: whether a backward within the backward accumulates gradients in the `.grad` of leaves.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    snapshot: Snapshot
    replica: Reused | None = None
    buffers: NamedTensors = field(default_factory=dict)
    reentrant: bool = False

    def gradients(self, of_outputs: Sequence[Tensor | None]) -> "BatchGradients":
        """Return the gradients of the trainable weights and of the inputs.

        Nothing is accumulated in a `.grad`, so backwards of several batches cannot mix.

        Args:
            of_outputs: one per output, None where there is none.
        """
        pairs = [
            (y, g if g.device == y.device else moved(g, y.device))  # the next gate may be on another device
            for y, g in zip(self.outputs, of_outputs, strict=True)
            if g is not None and y.requires_grad
        ]
        wanted = [x for x in self.inputs if x.requires_grad]
        weights = self.snapshot.trainable
        if not pairs or not (wanted or weights):
            return BatchGradients([None] * len(weights), (None,) * len(self.inputs), finite=True)
        with nullcontext() if self.replica is None else self.replica.once_more():
            found = differentiate(
                [y for y, _ in pairs], [*weights, *wanted], [g for _, g in pairs], accumulate=self.reentrant
            )
        of_weights: list[Tensor | None] = list(found[: len(weights)])
        rest = iter(found[len(weights) :])
        of_inputs = tuple(next(rest) if x.requires_grad else None for x in self.inputs)
        of_weights = _unshared(of_weights, (*of_outputs, *of_inputs))
        return BatchGradients(of_weights, of_inputs, finite=all_finite(of_weights))


@dataclass(frozen=True, slots=True)
class BatchGradients:
    """The gradients of one batch at one gate.

    Args:
        of_weights: one per trainable weight, None where there is none.
        of_inputs: one per tensor of the input, None where there is none.
        finite: whether all gradients of the weights are.
    """

    of_weights: list[Tensor | None]
    of_inputs: tuple[Tensor | None, ...]
    finite: bool


def _unshared(gradients: list[Tensor | None], others: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Return gradients that an optimizer may write into: none shares memory with another tensor, or within itself.

    Autograd may yield one tensor several times, pass through a gradient it was given, or expand a single number.
    """
    taken = {other.untyped_storage().data_ptr() for other in others if other is not None and not other.is_sparse}
    result: list[Tensor | None] = []
    for gradient in gradients:
        own = gradient
        if own is not None and not own.is_sparse:
            address = own.untyped_storage().data_ptr()
            if address in taken or (not own.is_contiguous() and 0 in own.stride()):  # a stride of 0: expanded
                own = own.clone(memory_format=torch.contiguous_format)
            taken.add(address)
        result.append(own)
    return result
