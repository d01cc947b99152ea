"""Trees of plain values and tensors as JSON, the tensors apart; and back. Nothing else can be written, or come back."""

import math
from typing import Any

from torch import Tensor

from akkordeon.tree import Tree

__all__ = ["decode", "encode"]

Json = Any
"""None | bool | int | float | str | list[Json] | dict[str, Json]."""


def encode(tree: Tree, tensors: dict[str, Tensor], place: str) -> Json:
    """Return a tree as JSON, and put its tensors into `tensors`, each under its place.

    Unlike JSON, a tree may hold tuples, keys that are no strings, and floats that are not finite.

    Raises:
        TypeError: something in it is no plain value; names its place.
    """
    match tree:
        case None | bool() | int() | str():
            return tree
        case float():
            return tree if math.isfinite(tree) else {"float": str(tree)}
        case Tensor():
            tensors[place] = tree.detach().contiguous()
            return {"tensor": place}
        case list():
            return [encode(branch, tensors, f"{place}.{index}") for index, branch in enumerate(tree)]
        case tuple():
            return {"tuple": [encode(branch, tensors, f"{place}.{index}") for index, branch in enumerate(tree)]}
        case dict():
            return {"dict": [[encode(key, {}, place), encode(tree[key], tensors, f"{place}.{key}")] for key in tree]}
        case _:
            raise TypeError(
                f"{place} is a {type(tree).__name__}, which cannot be saved: only plain values, tensors, and lists, "
                "tuples and dicts of them can"
            )


def decode(value: Json, tensors: dict[str, Tensor]) -> Tree:
    """Return the tree that was encoded.

    Raises:
        KeyError, TypeError, ValueError: this was not made by `encode`.
    """
    if isinstance(value, list):
        return [decode(branch, tensors) for branch in value]
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    match kind:
        case "tensor":
            return tensors[inside]
        case "float":
            return float(inside)
        case "tuple":
            return tuple(decode(branch, tensors) for branch in inside)
        case "dict":
            return {decode(key, {}): decode(branch, tensors) for key, branch in inside}
        case _:
            raise ValueError(f"{kind!r} is none of tensor, float, tuple and dict")
