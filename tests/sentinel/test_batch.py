"""What a loader may yield as x and as target, and how many samples that is."""

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from akkordeon.sentinel.batch import as_pair, beside, num_samples

X = torch.zeros(5, 4)
Named = namedtuple("Named", "words mask")


@dataclass
class Held:
    label: Tensor


PACKED = pack_padded_sequence(torch.zeros(3, 2, 4), torch.tensor([3, 1]))

TARGETS = [X, None, 3, "a word", np.zeros(3), Named(X, None), Held(X), [{"boxes": X[:0]}, {"boxes": X}], {"a": {1, 2}}]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: type(target).__name__)
def test_a_target_may_be_anything_and_stays_what_it_is(target: object) -> None:
    assert as_pair((X, target), with_target=True)[1] is target
    there = beside([X], target)
    assert type(there) is type(target)
    assert isinstance(target, list | dict | Named) or there is target


@pytest.mark.parametrize("mapping", [UserDict, OrderedDict, dict])
def test_a_mapping_is_taken_as_a_dictionary_wherever_in_x_it_is(mapping: Any) -> None:
    x, _ = as_pair(([mapping(words=X, more=mapping(mask=X)), 1], None), with_target=True)
    assert x == [{"words": X, "more": {"mask": X}}, 1]
    assert type(x[0]) is type(x[0]["more"]) is dict


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (PACKED, r"the loader yielded a PackedSequence: yield \(padded, lengths\) instead"),
        (
            np.zeros(3),
            r"the loader yielded a ndarray: yield tensors, or plain tuples, lists and dicts of them, instead",
        ),
        (Named(X, X), r"the loader yielded a Named: yield tensors, or plain tuples"),
        ({"a": [X, {1}]}, r"the loader yielded a set at x\['a'\]\[1\]: yield tensors"),
        ((X, UserDict(graph=Held(X))), r"the loader yielded a Held at x\[1\]\['graph'\]: yield tensors"),
    ],
)
@pytest.mark.parametrize("with_target", [True, False])
def test_an_x_that_cannot_travel_is_the_loaders_fault(x: Any, message: str, with_target: bool) -> None:
    with pytest.raises(TypeError, match=message):
        as_pair((x, None), with_target=with_target)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (X, 5),
        ((X, torch.zeros(5, 2)), 5),
        ({"words": torch.zeros(6, 2), "lengths": torch.zeros(6)}, 6),
        ({"words": [torch.zeros(6, 2)]}, 6),
        (torch.tensor(1.0), 1),
        (None, 1),
        (3, 1),
        ({}, 1),
        (["one", "two", "three"], 3),  # texts, which the module turns into tensors
        ([torch.zeros(5, 2), torch.zeros(7, 2), torch.zeros(2, 2)], 3),  # sequences of different lengths
        ((torch.zeros(1, 9, 9), torch.zeros(3, 9, 9)), 2),
        ((X, torch.zeros(2, 9, dtype=torch.int64)), 5),  # the nodes and edges of a graph
        ([X, {"a": torch.zeros(7)}], 5),
        ([], 0),
        (torch.zeros(0, 4), 0),
    ],
)
@pytest.mark.parametrize("target", [None, torch.zeros(99), [{"boxes": X[:0]}]], ids=["none", "long", "boxes"])
def test_samples_are_counted_by_x_alone(x: Any, target: object, expected: int) -> None:
    assert num_samples(x, target) == expected


def test_a_size_counts_in_place_of_x() -> None:
    assert num_samples(X, [1, 2], lambda x, target: len(x) * len(target)) == 10
    other_numbers: list[Any] = [torch.tensor(7), np.int64(7), 7.0]
    for number in other_numbers:
        assert num_samples(X, None, lambda x, target, number=number: number) == 7  # type: ignore[misc]


@pytest.mark.parametrize(("size", "error"), [(-1, ValueError), (None, TypeError), ("many", ValueError)])
def test_a_size_that_is_none_is_refused(size: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        num_samples(X, None, lambda x, target: size)


class Meta:
    """Knows how to get to a device, as a batch of a tokenizer does."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def to(self, device: torch.device) -> "Meta":
        return Meta(device)


def test_what_is_a_tensor_in_a_target_goes_to_the_outputs_device() -> None:
    there = torch.device("meta")
    moved = beside([X.to(there)], {"a": [X, "b"], "n": Named(X, 1), "own": Meta(X.device), "o": OrderedDict(c=X)})
    assert moved["a"][0].device == moved["n"].words.device == moved["own"].device == moved["o"]["c"].device == there
    assert (type(moved["n"]), type(moved["o"]), moved["a"][1], moved["n"].mask) == (Named, OrderedDict, "b", 1)
    assert beside([], X) is X
