"""Trees of tensors, the data that travels between gates.

A tree is a tensor, or a tuple, list or dict of trees. Constants (None, numbers, strings) may stand beside tensors.
`flatten` separates a tree into its tensors, in order, and a structure of plain tuples and strings.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

Tree = Any
"""Tensor | tuple[Tree, ...] | list[Tree] | dict[str, Tree] | None | bool | int | float | str."""

Structure = Any
"""A structure of plain values: `LEAF`, or a tuple that starts with the name of its container."""

LEAF = "tensor"


def flatten(tree: Tree) -> tuple[list[Tensor], Structure]:
    """Return the tensors of a tree in order, and its structure.

    Raises:
        TypeError: it holds something other than tensors, containers and constants; names the place.
    """
    if isinstance(tree, Tensor):
        return [tree], LEAF
    leaves: list[Tensor] = []
    return leaves, _strip(tree, leaves, "")


def rebuild(structure: Structure, leaves: Sequence[Tensor | None]) -> Tree:
    """Return the tree of a structure and its tensors; the inverse of `flatten`."""
    if structure == LEAF:
        return leaves[0]
    return _grow(structure, iter(leaves))


def map_leaves(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Return the tree with `function` applied to each of its tensors."""
    leaves, structure = flatten(tree)
    return rebuild(structure, [function(leaf) for leaf in leaves])


def describe(tree: Tree) -> str:
    """Describe a tree for an error: shapes and types, no values."""
    match tree:
        case Tensor():
            return f"{tuple(tree.shape)} {str(tree.dtype).removeprefix('torch.')}"
        case tuple() | list():
            inside = ", ".join(describe(branch) for branch in tree)
            return f"({inside})" if isinstance(tree, tuple) else f"[{inside}]"
        case dict():
            return "{" + ", ".join(f"{key}: {describe(branch)}" for key, branch in tree.items()) + "}"
        case _:
            return type(tree).__name__


def _strip(tree: Tree, leaves: list[Tensor], place: str) -> Structure:
    if isinstance(tree, Tensor):
        leaves.append(tree)
        return LEAF
    if type(tree) in (tuple, list):  # not a named tuple: its class does not travel
        inside = (_strip(branch, leaves, f"{place}[{index}]") for index, branch in enumerate(tree))
        return (type(tree).__name__, *inside)
    if isinstance(tree, dict):
        return ("dict", *((key, _strip(branch, leaves, f"{place}[{key!r}]")) for key, branch in tree.items()))
    if tree is None or isinstance(tree, bool | int | float | str):
        return ("constant", tree)
    found = f"{'at ' + place if place else 'here'} is a {type(tree).__name__}"
    raise TypeError(f"only tensors and tuples, lists and dicts of them can travel; {found}. Convert it in the module")


def _grow(structure: Structure, leaves: Any) -> Tree:
    if structure == LEAF:
        return next(leaves)
    kind, *inside = structure
    match kind:
        case "tuple":
            return tuple(_grow(branch, leaves) for branch in inside)
        case "list":
            return [_grow(branch, leaves) for branch in inside]
        case "dict":
            return {key: _grow(branch, leaves) for key, branch in inside}
        case _:
            return inside[0]
