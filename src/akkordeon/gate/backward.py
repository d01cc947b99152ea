"""Computes the gradients of one batch: of a gate's weights, and of its inputs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from akkordeon.gate.parameters import NamedTensors
from akkordeon.gate.versions import Snapshot
from akkordeon.tensors import all_finite, differentiate, moved

T = TypeVar("T")


class Reused(Protocol):
    """What a backward runs again."""

    def once_more(self, work: Callable[[], T]) -> T:
        """Run the backward."""

    def buffers_left(self) -> NamedTensors:
        """Return the buffers as it leaves them."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
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
        outputs, gradients = zip(*pairs, strict=True)
        back = partial(differentiate, outputs, (*weights, *wanted), gradients, accumulate=self.reentrant)
        found = back() if self.replica is None else self.replica.once_more(back)
        of_weights: list[Tensor | None] = list(found[: len(weights)])
        rest = iter(found[len(weights) :])
        of_inputs = tuple(next(rest) if x.requires_grad else None for x in self.inputs)
        of_weights = _own(of_weights, weights, (*of_outputs, *of_inputs))
        wrote = None if self.replica is None else (self.buffers, self.replica.buffers_left())
        return BatchGradients(of_weights, of_inputs, finite=all_finite(of_weights), wrote=wrote)


@dataclass(frozen=True, slots=True)
class BatchGradients:
    """The gradients of one batch at one gate.

    Args:
        of_weights: one per trainable weight, None where there is none.
        of_inputs: one per tensor of the input, None where there is none.
        finite: whether all gradients of the weights are.
        wrote: the buffers before and after a backward that used the module again; None otherwise.
    """

    of_weights: list[Tensor | None]
    of_inputs: tuple[Tensor | None, ...]
    finite: bool
    wrote: tuple[NamedTensors, NamedTensors] | None = None


def _own(
    gradients: Sequence[Tensor | None], weights: Sequence[Tensor], others: Iterable[Tensor | None]
) -> list[Tensor | None]:
    """Return gradients that an optimizer may write into, laid out as torch lays out a `.grad`.

    None shares memory with another tensor, or within itself: autograd may yield one tensor several times, pass through
    a gradient it was given, or expand a single number. All have the strides of their weights: a norm of other strides
    is summed in another order, which changes its last bits.
    """
    taken = {each.untyped_storage().data_ptr() for each in others if each is not None and each.layout is torch.strided}
    result: list[Tensor | None] = []
    for gradient, weight in zip(gradients, weights, strict=True):
        own = gradient
        if own is not None and own.layout is torch.strided:
            address = own.untyped_storage().data_ptr()
            if address in taken or own.stride() != weight.stride():
                own = torch.empty_like(weight).copy_(own)
            taken.add(address)
        result.append(own)
    return result
