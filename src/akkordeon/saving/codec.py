"""Encodes trees of plain values and tensors as JSON, with the tensors apart, and decodes them; refuses all else."""

import math
from typing import Any

import torch
from torch import Tensor

from akkordeon.messages.tree import Tree
from akkordeon.tensors import LAYOUTS, PLAIN_TUPLES, assembled, dismantled

Json = Any
"""None | bool | int | float | str | list[Json] | dict[str, Json]."""


MARKERS = {"tensor", "permuted tensor", "sparse tensor", "complex tensor", "float", "tuple", "dict"}
"""Single keys of JSON objects that stand for values without a form in JSON."""


def encode(tree: Tree, tensors: dict[str, Tensor], place: str) -> Json:  # noqa: PLR0911 - one per kind of value
    """Return a tree as JSON, and put its tensors into `tensors`, each under its place in the tree.

    Unlike JSON, a tree may hold tuples, keys other than strings, and floats that are not finite.

    Args:
        tree: of plain values and tensors.
        tensors: is added to.
        place: of the tree, for names of tensors and errors.

    Raises:
        TypeError: the tree holds something else; names its place.
    """
    match tree:
        case None | bool() | int() | str():
            return tree
        case float():
            return tree if math.isfinite(tree) else {"float": str(tree)}
        case Tensor():
            return _encode_tensor(tree.detach(), tensors, place)
        case list():
            return [encode(branch, tensors, f"{place}.{index}") for index, branch in enumerate(tree)]
        case tuple() if type(tree) in PLAIN_TUPLES:
            return {"tuple": [encode(branch, tensors, f"{place}.{index}") for index, branch in enumerate(tree)]}
        case dict():
            pairs = [(key, encode(branch, tensors, f"{place}.{key}")) for key, branch in tree.items()]
            if all(isinstance(key, str) for key in tree) and not (len(tree) == 1 and tree.keys() & MARKERS):
                return dict(pairs)
            return {"dict": [[encode(_plain(key, place), {}, place), branch] for key, branch in pairs]}
        case _:
            found = f"{place} is a {type(tree).__name__}, which cannot be saved"
            raise TypeError(f"{found}: only plain values, tensors, and lists, tuples and dicts of them can")


def decode(value: Json, tensors: dict[str, Tensor]) -> Tree:  # noqa: PLR0911 - one per kind of value
    """Return the tree that was encoded.

    Raises:
        KeyError, TypeError, ValueError: the value does not come from `encode`.
    """
    if isinstance(value, list):
        return [decode(branch, tensors) for branch in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not value.keys() & MARKERS:
        return {key: decode(branch, tensors) for key, branch in value.items()}
    ((kind, inside),) = value.items()
    match kind:
        case "tensor":
            return tensors[inside]
        case "permuted tensor":
            order, saved = inside
            return decode(saved, tensors).permute([order.index(dimension) for dimension in range(len(order))])
        case "complex tensor":
            return torch.view_as_complex(decode(inside, tensors).clone())  # a file's numbers may stand too odd for it
        case "sparse tensor":
            return assembled(*decode(inside, tensors))
        case "float":
            return float(inside)
        case "tuple":
            return tuple(decode(branch, tensors) for branch in inside)
        case _:
            return {decode(key, {}): decode(branch, tensors) for key, branch in inside}


def fits_a_file(tensor: Tensor) -> bool:
    """Whether a safetensors file can hold a tensor as it is."""
    return tensor.layout is torch.strided and tensor.dtype not in (torch.complex32, torch.complex128)


def _encode_tensor(tensor: Tensor, tensors: dict[str, Tensor], place: str) -> Json:
    if tensor.is_quantized or tensor.layout not in LAYOUTS:
        raise TypeError(f"{place} is a tensor of {tensor.dtype} and {tensor.layout}, which cannot be saved")
    if tensor.layout is not torch.strided:
        return {"sparse tensor": encode(dismantled(tensor), tensors, place)}
    if not fits_a_file(tensor):
        return {"complex tensor": _encode_tensor(torch.view_as_real(tensor.resolve_conj()), tensors, place)}
    # A file holds tensors row by row. The dimensions of others are put in order, so that they come back as they were:
    # sums depend on the order in memory.
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    if order != sorted(order) and tensor.permute(order).is_contiguous():
        return {"permuted tensor": [order, _encode_tensor(tensor.permute(order), tensors, place)]}
    while place in tensors:  # keys such as 1 and "1" look alike
        place += "'"
    tensors[place] = tensor.contiguous()
    return {"tensor": place}


def _plain(key: object, place: str) -> object:
    if not isinstance(key, None | bool | int | float | str | tuple):
        raise TypeError(f"{place} has a {type(key).__name__} as a key, which cannot be saved: only plain values can")
    return key
