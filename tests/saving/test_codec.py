"""Trees as JSON and tensors, and back: what comes out is what went in, and nothing else goes in or comes out."""

import json
import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor, nn

from akkordeon.messages.batches import BatchId
from akkordeon.saving.codec import decode, encode

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn),
    *(torch.complex64, torch.complex128),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool),
)

SHAPES = ((), (0,), (3,), (2, 0, 4), (2, 3), (1, 2, 3))


def made(dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return (torch.arange(math.prod(shape)).reshape(shape) % 5).to(dtype)


tensors = st.builds(made, st.sampled_from(DTYPES), st.sampled_from(SHAPES))
names = st.text(st.characters(exclude_characters=".", codec="utf-8"), max_size=6).map("k{}".format)
keys = st.one_of(names, st.integers(-9, 99), st.booleans(), st.none(), st.tuples(st.integers(), st.text(max_size=2)))
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
trees = st.recursive(
    st.one_of(plain, tensors),
    lambda inside: st.one_of(
        st.lists(inside, max_size=4),
        st.lists(inside, max_size=4).map(tuple),
        st.dictionaries(names, inside, max_size=4),
        st.dictionaries(st.integers(-9, 99), inside, max_size=4),
    ),
    max_leaves=12,
)
json_values = st.recursive(
    plain,
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.dictionaries(st.sampled_from(["tensor", "float", "tuple", "dict", "other"]), inside, max_size=2),
    ),
    max_leaves=8,
)


def through(tree: Any) -> Any:
    """Encode, write as a file would be, read and decode."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps(encode(tree, tensors, "here"), allow_nan=False)
    return decode(json.loads(text), load(save(tensors)))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        alike = isinstance(one, Tensor) and isinstance(other, Tensor) and one.dtype == other.dtype
        return alike and one.shape == other.shape and one.contiguous().equal(other)
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other)  # tells NaN from others, and 0.0 from -0.0
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(map(repr, one)) == list(map(repr, other)) and all(map(same, one.values(), other.values()))
    return bool(one == other)


@settings(max_examples=200, deadline=None)
@given(trees)
def test_what_comes_back_is_what_was_encoded(tree: Any) -> None:
    assert same(tree, through(tree))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(keys, plain, max_size=5))
def test_keys_may_be_any_plain_values(tree: Any) -> None:
    assert same(tree, through(tree))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tensors_of_each_type_and_shape_come_back(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    assert same(made(dtype, shape), through(made(dtype, shape)))


def test_views_come_back_as_what_they_show() -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    for view in (whole.t(), whole[:, ::2], whole[1:3], whole[0, 0].expand(3, 3), whole.t()[::2]):
        assert same(view, through(view))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128], ids=str)
def test_tensors_come_back_in_the_order_of_memory_they_had(dtype: torch.dtype) -> None:
    images = torch.randn(4, 3, 2, 5, dtype=dtype)
    last = images.to(memory_format=torch.channels_last)
    for tensor in (images, last, images.permute(3, 2, 1, 0), images[0].permute(2, 1, 0), images[0, 0].T):
        back = through(tensor)
        assert back.stride() == tensor.stride()
        assert back.equal(tensor)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "coo": Tensor.to_sparse_coo,
    "coo, in part": lambda tensor: tensor.to_sparse(1),
    "csr": Tensor.to_sparse_csr,
    "csc": Tensor.to_sparse_csc,
    "bsr": lambda tensor: tensor.to_sparse_bsr((2, 2)),
    "bsc": lambda tensor: tensor.to_sparse_bsc((2, 2)),
}


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta:UserWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128, torch.int64, torch.bool], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sparse_tensors_come_back(layout: str, dtype: torch.dtype) -> None:
    tensor = LAYOUTS[layout]((torch.arange(24).reshape(4, 6) % 5).to(dtype))
    back = through({"sparse tensor": tensor})["sparse tensor"]
    assert (back.layout, back.dtype, back.shape) == (tensor.layout, dtype, tensor.shape)
    assert torch.equal(back.to_dense(), tensor.to_dense())


def test_a_sparse_tensor_with_an_index_twice_comes_back_with_it() -> None:
    tensor = torch.sparse_coo_tensor(torch.tensor([[0, 2, 0]]), torch.tensor([1.0, 2, 3]), (4,), check_invariants=True)
    back = through(tensor)
    assert not back.is_coalesced()
    assert torch.equal(back._indices(), tensor._indices())
    assert torch.equal(back._values(), tensor._values())
    assert through(tensor.coalesce()).is_coalesced()


def test_indices_that_point_outside_are_refused() -> None:
    tensors: dict[str, Tensor] = {}
    encoded = encode(torch.eye(3).to_sparse(), tensors, "here")
    (indices,) = (name for name, tensor in tensors.items() if tensor.dtype == torch.int64)
    tensors[indices] = tensors[indices] + 7
    with pytest.raises(RuntimeError, match="size is inconsistent with indices"):
        decode(encoded, tensors)


def test_parts_of_one_tensor_come_back_apart() -> None:
    whole = torch.arange(6.0)
    back = through([whole[:3].clone(), whole])
    back[0].zero_()
    assert back[1].equal(whole)


def test_tensors_are_detached() -> None:
    (parameter,) = through([nn.Parameter(torch.ones(2))])
    assert not parameter.requires_grad


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e-320, 0.1, -0.0, 2.0**1023])
def test_floats_come_back_to_the_last_digit(value: float) -> None:
    back = through(value)
    assert back == value
    assert math.copysign(1, back) == math.copysign(1, value)


def test_a_whole_number_stays_one_and_a_truth_value_too() -> None:
    assert [type(each) for each in through([1, 1.0, True, 2**80])] == [int, float, bool, int]


def test_other_kinds_of_dict_and_tuple_become_plain_ones() -> None:
    tree = through([Counter("aab"), OrderedDict(x=1), torch.Size([2, 3])])
    assert tree == [{"a": 2, "b": 1}, {"x": 1}, (2, 3)]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({1, 2}, r"^here is a set, which cannot be saved: only plain values, tensors, and lists"),
        ([0, {"a": (1, object())}], r"^here\.1\.a\.1 is a object, which cannot be saved"),
        ({"state": {3: {"exp": b"raw"}}}, r"^here\.state\.3\.exp is a bytes"),
        ([len], r"^here\.0 is a builtin_function_or_method"),
        ({"m": nn.Linear(1, 1)}, r"^here\.m is a Linear"),
        ({"z": 1j}, r"^here\.z is a complex"),
        ({"k": {frozenset(): 1}}, r"^here\.k has a frozenset as a key"),
        ({"k": {torch.ones(1): 1}}, r"^here\.k has a Tensor as a key"),
        (BatchId("n", "s", 1, 2), r"^here is a BatchId"),
        ({"f": torch.float32}, r"^here\.f is a dtype"),
    ],
)
def test_what_cannot_be_saved_is_refused_by_its_place(tree: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        encode(tree, {}, "here")


@pytest.mark.parametrize(
    "value",
    [
        *({"tensor": "missing"}, {"tensor": ["a"]}, {"float": "one"}, {"float": None}),
        *({"dict": 3}, {"dict": [[1]]}, {"dict": [[{"tuple": [[]]}, 1]]}, {"dict": [[{"dict": []}, 1]]}),
        *({"tuple": None}, {"tensor": {}}, {"dict": {"a": 1}}, [{"tuple": 1}]),
    ],
    ids=str,
)
def test_what_was_not_encoded_is_refused(value: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        decode(value, {"a": torch.ones(1)})


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_whatever_json_holds_nothing_else_is_raised(value: Any) -> None:
    try:
        back = decode(json.loads(json.dumps(value)), {"a": torch.ones(1)})
    except (KeyError, TypeError, ValueError):
        return
    tensors: dict[str, Tensor] = {}
    encode(back, tensors, "here")  # what comes out can go in again
