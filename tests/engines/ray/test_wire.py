"""What is taken apart for the wire is put together again as it was, in memory of its own; what cannot is named."""

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from akkordeon.actor import Ended
from akkordeon.engines.ray.wire import pack, unpack
from akkordeon.errors import ActorFailed, BatchRefused, Unreachable, UpdateFailed, WiringError
from akkordeon.messages.batches import Backward, BatchId

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex32, torch.complex64, torch.complex128),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8),
    torch.bool,
]

SHAPES = [(), (0,), (3,), (2, 0, 4), (2, 3)]

OVERHEAD = 1000
"""Bytes that a message may have beside its tensors: its classes by name, and shapes."""


def through(message: Any) -> Any:
    """As Ray hands it out: the buffers are somebody else's, and read-only."""
    data, buffers = pack(message)
    assert all(buffer.dtype == np.uint8 for buffer in buffers)
    return unpack(data, [np.frombuffer(bytes(buffer), np.uint8) for buffer in buffers])


def bits(tensor: Tensor) -> list[int]:
    """Return the bytes of a tensor, which can be compared for all types."""
    return [] if not tensor.numel() else tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()


def made(dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    values = torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape) % 2 + 1
    return values.to(torch.complex64).to(dtype) if dtype.is_complex else values.to(dtype)


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_of_any_type_and_shape_arrives_bit_for_bit(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    sent = made(dtype, shape)
    came = through(sent)
    assert type(came) is Tensor
    assert (came.dtype, came.shape) == (dtype, shape)
    assert bits(came) == bits(sent)
    assert not came.requires_grad


def test_what_arrives_owns_its_memory_and_can_be_written() -> None:
    data, buffers = pack([torch.ones(3), torch.ones(2, dtype=torch.bfloat16)])
    copies = [np.frombuffer(bytes(buffer), np.uint8) for buffer in buffers]
    first, again = unpack(data, copies), unpack(data, copies)
    for each in first:
        each.fill_(7)
    assert all((each == 1).all() for each in again)
    assert all((each == 7).all() for each in first)


@pytest.mark.parametrize(
    "view",
    [
        lambda whole: whole[3:5],
        lambda whole: whole.t()[:2],
        lambda whole: whole[::50, ::50],
        lambda whole: whole[:1].expand(2, 1000),
        lambda whole: whole.bfloat16()[3:5],
    ],
    ids=["rows", "transposed", "steps", "expanded", "bfloat16"],
)
def test_of_a_view_travels_what_it_shows_and_nothing_else(view: Any) -> None:
    whole = torch.arange(1_000_000.0).reshape(1000, 1000)
    sent = view(whole)
    data, buffers = pack(sent)
    travels = len(data) + sum(buffer.nbytes for buffer in buffers)
    assert travels < sent.numel() * sent.element_size() + OVERHEAD
    assert torch.equal(through(sent), sent)


def test_a_large_tensor_is_not_copied_by_its_sender() -> None:
    sent = torch.zeros(1000, 1000)
    _, (buffer,) = pack({"x": sent})
    assert buffer.ctypes.data == sent.data_ptr()


def test_of_a_tensor_with_a_history_travel_its_values_only() -> None:
    weight = torch.ones(3, requires_grad=True)
    for sent in (weight, weight * 2):
        came = through(sent)
        assert torch.equal(came, sent.detach())
        assert (came.requires_grad, came.grad_fn) == (False, None)


def test_parameters_stay_parameters_and_shared_ones_stay_shared() -> None:
    trained, frozen = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2), requires_grad=False)
    came = through([trained, frozen, trained])
    assert [type(each) for each in came] == [nn.Parameter] * 3
    assert [each.requires_grad for each in came] == [True, False, True]
    assert came[0] is came[2]


def test_a_module_arrives_ready_to_be_trained() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    came = through(module)
    x = torch.randn(4, 3)
    assert torch.equal(came(x), module(x))
    came(x).sum().backward()
    assert all(each.grad is not None for each in came.parameters())


@pytest.mark.parametrize(
    "sent",
    [
        torch.tensor([1 + 2j, 3 - 1j]).conj(),
        torch.tensor([1 + 2j, 3 - 1j]).conj().imag,
        torch.eye(3).to_sparse(),
    ],
    ids=["conjugate", "negative", "sparse"],
)
def test_lazy_and_sparse_tensors_arrive_as_plain_ones(sent: Tensor) -> None:
    came = through(sent)
    assert torch.equal(came, sent.to_dense() if sent.is_sparse else sent)
    assert (came.layout, came.is_conj(), came.is_neg()) == (torch.strided, False, False)


def test_a_tree_arrives_with_its_structure() -> None:
    shared = torch.ones(2)
    tree = {"words": (torch.arange(3), None, "causal"), "more": [shared, {"again": shared, "number": 2.5}]}
    came = through(tree)
    assert came["words"][0].tolist() == [0, 1, 2]
    assert came["words"][1:] == (None, "causal")
    assert came["more"][0] is came["more"][1]["again"]
    assert came["more"][1]["number"] == 2.5


# Exceptions


class Odd(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"code {code}")
        self.hint = hint


class Speechless(Exception):
    """Has a text that cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_exceptions_of_python_keep_type_arguments_notes_and_cause() -> None:
    error = KeyError("the third one")
    error.add_note("in gate 'body'")
    error.__cause__ = FileNotFoundError(2, "No such file", "words.txt")
    came = through(Ended(None, error)).reason  # type: ignore[arg-type]
    assert type(came) is KeyError
    assert came.args == ("the third one",)
    assert came.__notes__ == ["in gate 'body'"]
    assert type(came.__cause__) is FileNotFoundError
    assert str(came.__cause__) == "[Errno 2] No such file: 'words.txt'"
    assert came.__cause__.filename == "words.txt"


@pytest.mark.parametrize(
    "error",
    [
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ExceptionGroup("two of them", [ValueError("one"), KeyError("two")]),
        StopIteration((1, 2)),
        SystemExit(3),
        OSError(),
        ImportError("no module", name="words"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_their_constructors_want_exceptions_arrive_with_their_text(error: BaseException) -> None:
    came = through(error)
    assert isinstance(came, BaseException)
    assert str(error) in str(came)
    assert type(came) is type(error) or type(error).__name__ in str(came)


@pytest.mark.parametrize("error", [Odd(7, hint="more"), Speechless("some", lambda: None)])
def test_exceptions_of_others_arrive_as_their_name_and_text(error: Exception) -> None:
    came = through(error)
    assert type(came) is ActorFailed
    assert str(came).startswith(type(error).__name__ + ": ")


def test_exceptions_of_our_own_keep_what_they_carry() -> None:
    batch = BatchId("network", "train", 1, 17)
    refused = BatchRefused("gate 'body' could not")
    refused.__cause__ = Odd(7, hint="more")
    came = through([UpdateFailed("torn", batch), Unreachable("nobody", "refused"), refused])
    assert [type(each) for each in came] == [UpdateFailed, Unreachable, BatchRefused]
    assert (came[0].batch, came[1].cause) == (batch, "refused")
    assert str(came[2].__cause__) == "Odd: code 7"


def test_the_values_of_an_exception_that_are_not_plain_arrive_as_text() -> None:
    came = through(ValueError("shape", torch.Size([2, 3]), threading.Lock))
    assert came.args[:2] == ("shape", "torch.Size([2, 3])")


# What cannot travel


@dataclass(frozen=True)
class Locked:
    """Holds what no other process could have."""

    lock: Any


def test_what_cannot_travel_is_named_with_the_reason_and_what_to_do() -> None:
    with pytest.raises(WiringError, match=r"^Locked cannot be sent to another process: cannot pickle .*lock.* object"):
        pack(Locked(threading.Lock()))


def test_a_gradient_that_is_missing_stays_so() -> None:
    came = through(Backward(None, (torch.ones(2), None), (1, "nothing to learn")))  # type: ignore[arg-type]
    assert came.gradients[1] is None
    assert came.gradients[0].tolist() == [1, 1]
    assert came.trail == (1, "nothing to learn")


@pytest.mark.parametrize("size", [4, 64])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_tensor_lies_in_memory_as_it_did(size: int, kind: torch.dtype) -> None:
    image = torch.randn(2, 8, size, size).to(kind)
    last = image.contiguous(memory_format=torch.channels_last)
    for tensor in (
        image,
        last,
        image.transpose(0, 3),
        nn.Parameter(last),
        image[:1].contiguous(memory_format=torch.channels_last),
    ):
        came = unpack(*pack(tensor))
        assert came.stride() == tensor.stride()
        assert torch.equal(came, tensor)
        assert type(came) is type(tensor)


def test_a_part_of_a_tensor_travels_without_the_rest() -> None:
    tensor = torch.randn(4, 6)[:, ::2]
    came = unpack(*pack(tensor))
    assert torch.equal(came, tensor)
    assert came.is_contiguous()
