"""What a batch is, how large, whether finite, and where its tensors are."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from akkordeon.sentinel.batch import as_pair
from akkordeon.tensors import all_finite, all_finite_at_once, moved, to_device

X, TARGET = torch.zeros(5, 4), torch.zeros(5, dtype=torch.int64)
INF, NAN = math.inf, math.nan


@pytest.mark.parametrize("item", [(X, TARGET), [X, TARGET]])
@pytest.mark.parametrize("with_target", [True, False])
def test_a_pair_is_input_and_target(item: Any, with_target: bool) -> None:
    x, target = as_pair(item, with_target=with_target)
    assert x is X
    assert target is TARGET


@pytest.mark.parametrize("item", [X, (X,), [X], {"x": X}, (X, TARGET, TARGET), torch.zeros(2, 4)])
def test_what_is_no_pair_is_refused_where_a_target_is_wanted(item: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a pair \(x, target\), and the loader yielded .*\(\d, 4\) float32"):
        as_pair(item, with_target=True)


@pytest.mark.parametrize("item", [X, (X,), [X]])
def test_an_input_alone_will_do_where_no_target_is_wanted(item: Any) -> None:
    assert as_pair(item, with_target=False) == (X if item is X else item[0], None)


def test_a_dictionary_alone_is_an_input() -> None:
    item = {"words": X, "mask": X}
    assert as_pair(item, with_target=False) == (item, None)


@pytest.mark.parametrize("bad", [INF, -INF, NAN])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.complex128]
)
def test_one_bad_number_among_many_is_found(bad: float, dtype: torch.dtype) -> None:
    tensor = torch.ones(7, 11, dtype=dtype)
    assert all_finite([tensor])
    assert all_finite_at_once([tensor, tensor])
    tensor[3, 4] = bad
    assert not all_finite([torch.ones(2), None, tensor])
    assert not all_finite_at_once([torch.ones(2), tensor])


@pytest.mark.parametrize("bad", [INF, -INF, NAN])
@pytest.mark.parametrize("place", range(4))
def test_one_bad_number_is_found_in_any_of_several_tensors_of_all_types(bad: float, place: int) -> None:
    tensors = [torch.ones(3, 2), torch.ones(4, dtype=torch.float64), torch.tensor(1.0), torch.ones(5).bfloat16()]
    others = [torch.zeros(0), torch.full((3,), 6e4).half(), torch.full((4,), 1e30)]  # squares of these are infinite
    assert all_finite([*tensors, *others])
    assert all_finite([*tensors, *others, torch.ones(2, dtype=torch.int64)])
    tensors[place].view(-1)[0] = bad
    assert not all_finite([*tensors, *others])


def test_infinities_that_cancel_are_found() -> None:
    assert not all_finite([torch.tensor([INF, -INF])])
    assert not all_finite_at_once([torch.tensor([INF]), torch.tensor([-INF])])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_sum_that_overflows_is_no_reason_to_call_numbers_infinite(dtype: torch.dtype) -> None:
    large = torch.full((64,), torch.finfo(dtype).max, dtype=dtype)
    assert not large.sum().isfinite()
    assert all_finite([large])
    assert all_finite_at_once([large, large])


@pytest.mark.parametrize(
    "tensors",
    [[], [None], [torch.empty(0)], [torch.empty(3, 0)], [torch.tensor([1, 2])], [torch.tensor(True)]],
    ids=["none at all", "no gradient", "empty", "empty of two dimensions", "integers", "a truth value"],
)
def test_where_there_is_nothing_to_be_infinite_all_is_finite(tensors: list[Tensor | None]) -> None:
    assert all_finite(tensors)
    assert all_finite_at_once([each for each in tensors if each is not None])


def test_a_sparse_gradient_is_looked_into() -> None:
    def sparse(values: Tensor) -> Tensor:
        return torch.sparse_coo_tensor(torch.tensor([[0, 3, 3]]), values, (5, 2), check_invariants=True)

    assert all_finite([sparse(torch.ones(3, 2))])
    assert not all_finite([sparse(torch.tensor([[1.0, 1], [1, NAN], [1, 1]]))])


def test_looking_for_infinities_leaves_a_tensor_with_a_graph_alone() -> None:
    weight = torch.ones(3, requires_grad=True)
    assert all_finite([weight * 2])
    assert weight.grad is None


def test_a_tree_without_a_device_stays_the_very_same() -> None:
    tree = {"x": X, "n": 3}
    assert to_device(tree, None) is tree


def test_a_tree_moves_to_a_device_with_all_its_tensors() -> None:
    moved = to_device({"x": X, "more": [TARGET, "text", None]}, torch.device("meta"))
    assert moved["x"].device.type == moved["more"][0].device.type == "meta"
    assert moved["more"][1:] == ["text", None]


def test_what_is_there_already_is_not_copied() -> None:
    assert moved(X, torch.device("cpu")) is X


@pytest.mark.filterwarnings("ignore:Sparse CS. tensor support is in beta:UserWarning")
def test_a_sparse_tensor_of_any_layout_is_looked_into() -> None:
    for layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc):
        assert all_finite([torch.eye(3).to_sparse(layout=layout)])
        assert not all_finite([torch.diag(torch.tensor([1.0, NAN])).to_sparse(layout=layout), torch.ones(2)])


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_complex_numbers_are_looked_into(dtype: torch.dtype) -> None:
    fine = torch.ones(3, dtype=dtype)
    for odd in (complex(NAN, 0), complex(0, NAN), complex(math.inf, 0), complex(0, -math.inf)):
        for others in ([], [fine], [fine] * 4):
            assert all_finite([*others, fine])
            assert not all_finite([*others, torch.tensor([1, odd], dtype=dtype)])
            assert not all_finite_at_once([*others, torch.tensor([1, odd], dtype=dtype)])
