"""Takes apart what a loader yields: into x, which travels, and the target, which does not; counts its samples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from akkordeon.messages.tree import Tree, describe, flatten
from akkordeon.tensors import map_parts, moved

Size = Callable[[Tree, Any], int]
"""Takes x and target of a batch; returns how many samples it counts for."""


def as_pair(item: object, *, with_target: bool) -> tuple[Tree, Any]:
    """Return (x, target) of what a loader yielded; target is None where x comes alone.

    Raises:
        TypeError: a target is wanted, and the item is not a pair; or x holds what cannot travel.
    """
    x, target = item, None
    if isinstance(item, tuple | list) and len(item) == 2:
        x, target = item
    elif with_target:
        raise TypeError(f"a batch must be a pair (x, target), and the loader yielded {describe(item)}")
    elif isinstance(item, tuple | list) and len(item) == 1:  # a TensorDataset of one tensor
        (x,) = item
    return _as_tree(x), target


def _as_tree(x: Any, place: str = "") -> Tree:
    """Return x with any mapping in it, such as a batch of a tokenizer, as a dict."""
    if x is None or isinstance(x, Tensor | bool | int | float | str):
        return x
    if isinstance(x, Mapping):
        return {key: _as_tree(each, f"{place}[{key!r}]") for key, each in x.items()}
    if type(x) in (tuple, list):
        return type(x)(_as_tree(each, f"{place}[{index}]") for index, each in enumerate(x))
    packed = isinstance(x, PackedSequence)
    instead = "(padded, lengths)" if packed else "tensors, or plain tuples, lists and dicts of them,"
    where = f" at x{place}" if place else ""
    raise TypeError(f"the loader yielded a {type(x).__name__}{where}: yield {instead} instead")


def num_samples(x: Tree, target: object = None, size: Size | None = None) -> int:
    """Return what `size` returns; without one, the length of the first dimension of the first tensor in x.

    Where that cannot be the batch's, the length of x: of a list without tensors, or of tensors of one kind that differ
    in it, such as sequences.

    Raises:
        ValueError: `size` returned no number that is at least 0.
        Exception: anything that `size` raises.
    """
    if size is not None:
        if (number := int(size(x, target))) < 0:
            raise ValueError(f"its size must be at least 0, not {number}")
        return number
    leaves = flatten(x)[0]
    sizes = [leaf.shape[0] if leaf.dim() else 1 for leaf in leaves]
    if isinstance(x, list | tuple) and len(set(sizes)) != 1:
        kinds = {(leaf.dtype, leaf.dim()) for leaf in leaves}
        if not leaves or (len(kinds) == 1 and len(leaves) == len(x)):
            return len(x)
    return sizes[0] if sizes else 1


def beside(leaves: Sequence[Tensor], target: Any) -> Any:
    """Return a target on the device of an output: its tensors, and what can go there, such as a tokenizer's batch."""
    if not leaves:
        return target
    device = leaves[0].device

    def there(part: Any) -> Any:
        if isinstance(part, Tensor):
            return moved(part, device)
        return part if device.type == "cpu" or not hasattr(part, "to") else part.to(device)

    return there(target) if isinstance(target, Tensor) else map_parts(there, target)
