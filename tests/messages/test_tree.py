"""A tree is taken apart and put together again, and what is no tree is refused with its place."""

from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from akkordeon.messages.tree import describe, flatten, map_leaves, rebuild

Point = namedtuple("Point", ["x", "y"])

tensors = st.builds(torch.zeros, st.lists(st.integers(0, 3), max_size=3))
constants = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
trees = st.recursive(
    tensors | constants,
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.lists(inside, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=8), inside, max_size=4)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal in everything, and with the very same tensors."""
    if isinstance(one, Tensor):
        return one is other
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def is_plain(structure: Any) -> bool:
    if isinstance(structure, tuple):
        return all(map(is_plain, structure))
    return structure is None or isinstance(structure, bool | int | float | str)


@given(trees)
@settings(deadline=None)
def test_rebuild_is_the_inverse_of_flatten(tree: Any) -> None:
    leaves, structure = flatten(tree)
    assert same(tree, rebuild(structure, leaves))


@given(trees)
@settings(deadline=None)
def test_a_structure_is_made_of_plain_values_only(tree: Any) -> None:
    assert is_plain(flatten(tree)[1])


@given(trees)
@settings(deadline=None)
def test_map_leaves_changes_each_tensor_and_nothing_else(tree: Any) -> None:
    leaves, structure = flatten(tree)
    mapped_leaves, mapped_structure = flatten(map_leaves(lambda leaf: leaf + 1, tree))
    assert mapped_structure == structure
    assert all(map(torch.equal, mapped_leaves, [leaf + 1 for leaf in leaves]))


def test_leaves_come_in_the_order_of_the_tree() -> None:
    a, b, c = torch.tensor(1), torch.tensor(2), torch.tensor(3)
    assert [leaf.item() for leaf in flatten({"second": (b, [c]), "first": a})[0]] == [2, 3, 1]


def test_a_gradient_that_is_missing_goes_back_to_its_place() -> None:
    _, structure = flatten({"a": torch.ones(1), "b": (torch.ones(2), 3)})
    gradient = torch.ones(2)
    assert same(rebuild(structure, [None, gradient]), {"a": None, "b": (gradient, 3)})


def test_a_constant_that_reads_like_a_leaf_stays_a_constant() -> None:
    assert rebuild(flatten(("tensor", "dict"))[1], []) == ("tensor", "dict")


def test_an_ordered_dictionary_becomes_a_plain_one_in_the_same_order() -> None:
    leaves, structure = flatten(OrderedDict(b=torch.ones(1), a=2))
    assert same(rebuild(structure, leaves), {"b": leaves[0], "a": 2})


@pytest.mark.parametrize(
    ("tree", "where", "what"),
    [
        (Point(1, 2), "here", "Point"),
        (object(), "here", "object"),
        ((torch.ones(1), [0, {"x": Point(1, 2)}]), r"at \[1\]\[1\]\['x'\]", "Point"),
        ({"mask": [{1, 2}]}, r"at \['mask'\]\[0\]", "set"),
        ([torch.Size([1])], r"at \[0\]", "Size"),
    ],
)
def test_what_is_no_tree_is_refused_and_its_place_named(tree: Any, where: str, what: str) -> None:
    with pytest.raises(TypeError, match=rf"{where} is a {what}\. Convert it in the module"):
        flatten(tree)


def test_a_description_shows_shapes_and_types_and_no_values() -> None:
    tree = (
        torch.zeros(2, 3),
        [torch.zeros(4, dtype=torch.int64), "secret"],
        {"mask": torch.zeros((), dtype=torch.bool)},
    )
    assert describe(tree) == "((2, 3) float32, [(4,) int64, str], {mask: () bool})"


@pytest.mark.parametrize(("thing", "text"), [(None, "NoneType"), (3, "int"), (object(), "object"), ((), "()")])
def test_a_description_of_anything_names_its_type(thing: object, text: str) -> None:
    assert describe(thing) == text
