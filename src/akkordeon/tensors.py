"""Moves tensors between devices, copies them, looks for NaN and infinities, and differentiates."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Size, Tensor
from torch.autograd.graph import _engine_run_backward

from akkordeon.messages.tree import Tree, map_leaves

FEW = 2
"""Tensors that are summed up one by one."""


def to_device(tree: Tree, device: torch.device | None) -> Tree:
    """Return the tree with all tensors on a device; None leaves them where they are."""
    if device is None:
        return tree
    return map_leaves(lambda leaf: moved(leaf, device), tree)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; itself, if it is there.

    All that a process computes on one GPU runs on the GPU's default stream, in the order in which threads ask for it.
    So what is asked for after a copy finds it done, on whichever thread, and no events are needed. With a stream for
    each gate small computations of several gates could overlap, but each tensor that goes from one to the next would
    have to be waited for, and kept from being reused too early. Between two GPUs, torch's copies do that.
    """
    if tensor.device == device:
        return tensor
    if device.type == "cuda" and tensor.device.type == "cpu":
        # Out of pinned memory, which is kept until the copy is over, a copy takes its turn on the GPU while this thread
        # goes on. The other way round nobody may look before it is over, so that one waits.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def all_finite(tensors: Iterable[Tensor | None]) -> bool:
    """Whether there is no NaN and no infinity in any of the tensors."""
    values = [t.coalesce().values() if t.is_sparse else t for t in tensors if t is not None]
    if values and values[0].device.type != "cpu":
        return all_finite_at_once(values)
    # A NaN or an infinity always shows in the sum, which is 25 times faster than looking at each element; a sum that
    # is not finite may also have overflowed, which only the elements tell.
    return math.isfinite(_sum(values)) or all(bool(t.isfinite().all()) for t in values)


def _sum(values: list[Tensor]) -> float:
    """Return the sum of all numbers, or of all norms: these take one call, after which to wait for the interpreter."""
    if len(values) > FEW and all(value.is_floating_point() for value in values):
        return torch.stack(torch._foreach_norm(values)).sum().item()
    return abs(sum(value.sum().item() for value in values))


@torch.no_grad()
def all_finite_at_once(tensors: Sequence[Tensor]) -> bool:
    """Answer the same question about dense tensors with one look at the device, for which this thread has to wait."""
    if not tensors:
        return True
    sums = [tensor.sum().abs().to(tensors[0].device, torch.float32) for tensor in tensors]
    return math.isfinite(torch.stack(sums).sum().item()) or all(bool(each.isfinite().all()) for each in tensors)


def differentiate(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], of_outputs: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the inputs, None where the outputs do not depend on one.

    The same as `torch.autograd.grad(outputs, inputs, of_outputs, allow_unused=True)`, bit for bit, but for the checks
    that it makes in Python for nested and symbolic tensors: these take as long as the backward of a small gate
    (50 microseconds in torch 2.13).

    Args:
        outputs: tensors with a graph.
        inputs: leaves that require a gradient.
        of_outputs: gradients of the outputs, of their shapes.

    Raises:
        ValueError: a gradient has not the shape of its output.
    """
    for output, gradient in zip(outputs, of_outputs, strict=True):
        if output.shape != gradient.shape:
            raise ValueError(f"a gradient of shape {tuple(gradient.shape)} came for an output of {tuple(output.shape)}")
    keep_graph = create_graph = False
    found = _engine_run_backward(
        tuple(outputs),
        tuple(of_outputs),
        keep_graph,
        create_graph,
        tuple(inputs),
        allow_unreachable=True,
        accumulate_grad=False,
    )
    return tuple(found)


PLAIN_TUPLES = (tuple, Size)
"""One with names could not be made again."""


def copied(tree: Tree) -> Tree:
    """Return a tree with copies of its tensors; whatever else is in it stays, be it fit to be saved or not.

    Copies are in main memory: that of a GPU is for what is computed with.
    """
    match tree:
        case Tensor():
            return tree.detach().to("cpu", copy=True)
        case list():
            return [copied(branch) for branch in tree]
        case tuple() if type(tree) in PLAIN_TUPLES:
            return tuple(copied(branch) for branch in tree)
        case dict():
            return {key: copied(branch) for key, branch in tree.items()}
        case _:
            return tree
