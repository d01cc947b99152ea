"""Takes apart what a loader yields: into x and target, and counts its samples."""

from akkordeon.messages.tree import Tree, describe, flatten


def as_pair(item: object, *, with_target: bool) -> tuple[Tree, Tree]:
    """Return (x, target) of what a loader yielded; target is None where x comes alone.

    Raises:
        TypeError: a target is wanted, and the item is not a pair.
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
