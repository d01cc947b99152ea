"""What a batch is: a pair (x, target), its number of samples, where its tensors are, and whether they are finite."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from akkordeon.tree import Tree, describe, flatten, map_leaves

__all__ = ["all_finite", "as_pair", "num_samples", "to_device"]


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
    return map_leaves(lambda leaf: leaf if leaf.device == device else leaf.to(device), tree)


@torch.no_grad()
def all_finite(tensors: Iterable[Tensor | None]) -> bool:
    """Whether there is no NaN and no infinity in any of the tensors."""
    return all(_is_finite(t.coalesce().values() if t.is_sparse else t) for t in tensors if t is not None)


def _is_finite(tensor: Tensor) -> bool:
    # A NaN or an infinity always shows in the sum, which is 25 times faster than looking at each element; a sum that
    # is not finite may also have overflowed, which only the elements tell.
    return math.isfinite(abs(tensor.sum().item())) or bool(tensor.isfinite().all())
