"""What a batch is: a pair (x, target), its number of samples, where its tensors are, and whether they are finite."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from akkordeon.tree import Tree, describe, flatten, map_leaves

__all__ = ["all_finite", "all_finite_at_once", "as_pair", "moved", "num_samples", "to_device"]

FEW = 2
"""Tensors that are summed up one by one."""


def as_pair(item: object, *, with_target: bool) -> tuple[Tree, Tree]:
    """Return (x, target) of what a loader yielded; target is None where none is wanted or there.

    Raises:
        TypeError: a target is wanted, and the item is no pair.
    """
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    if with_target:
        raise TypeError(f"a batch must be a pair (x, target), and the loader yielded {describe(item)}")
    if isinstance(item, tuple | list) and len(item) == 1:  # a TensorDataset of one tensor
        return item[0], None
    return item, None


def num_samples(x: Tree, target: Tree) -> int:
    """Return the length of the first dimension of the target, or of x where there is no target."""
    for tree in (target, x):
        for leaf in flatten(tree)[0]:
            return leaf.shape[0] if leaf.dim() else 1
    return 1


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
