"""The debug mode finds a write into a tensor wherever it is in a message."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch

from akkordeon.engines.debug import WriteDetector
from akkordeon.errors import SharedTensorWritten


class Pair(NamedTuple):
    first: object
    second: object


@dataclass(frozen=True, slots=True)
class Message:
    what: object


TENSOR = torch.zeros(2)


@pytest.mark.parametrize(
    "message",
    [TENSOR, Message(TENSOR), [1, (TENSOR,)], {"a": {"b": TENSOR}}, Message(Pair(None, Message([TENSOR])))],
    ids=["itself", "field", "list", "dictionary", "nested"],
)
def test_a_write_is_found_wherever_the_tensor_is(message: object) -> None:
    detector = WriteDetector()
    detector.saw(message, "one", "other")
    TENSOR.add_(1)
    with pytest.raises(SharedTensorWritten, match=r"from one to other: tensor 0 of shape \(2,\)"):
        detector.check()


@pytest.mark.parametrize("message", ["text", 3, None, Message, Message(Pair), [Message("a")]])
def test_a_message_without_tensors_is_left_alone(message: object) -> None:
    detector = WriteDetector()
    detector.saw(message, "one", "other")
    detector.check()
