"""The debug mode of an engine: copies the tensors of each message, and compares them later.

Engines in one process send messages without a copy. So a write into a tensor that was sent changes what the receiver
sees, at some moment, which no test would find twice; this finds it, and names the message.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass

import torch
from torch import Tensor

from akkordeon.errors import SharedTensorWritten


class WriteDetector:
    """Keeps copies of the last `keep` messages with tensors, and compares each when it leaves, or at the end.

    A limited number, since copies take memory: only writes that come soon after the sending are found.
    """

    def __init__(self, keep: int = 64) -> None:
        self._keep = keep
        self._sent: deque[tuple[str, list[Tensor], list[Tensor]]] = deque()

    def saw(self, message: object, sender: str, receiver: str) -> None:
        """Note a message.

        Raises:
            SharedTensorWritten: an earlier message was written into.
        """
        if not (tensors := list(_tensors(message))):
            return
        route = f"{type(message).__name__} from {sender} to {receiver}"
        with torch.no_grad():
            self._sent.append((route, tensors, [tensor.clone() for tensor in tensors]))
        if len(self._sent) > self._keep:
            _compare(*self._sent.popleft())

    def check(self) -> None:
        """Compare everything still kept.

        Raises:
            SharedTensorWritten: a message was written into.
        """
        while self._sent:
            _compare(*self._sent.popleft())


def _compare(route: str, tensors: list[Tensor], copies: list[Tensor]) -> None:
    for index, (tensor, copy) in enumerate(zip(tensors, copies, strict=True)):
        now, then = tensor.to_dense(), copy.to_dense()  # sparse ones cannot be compared
        same = (now == then) | (now.isnan() & then.isnan())
        if not bool(same.all()):
            raise SharedTensorWritten(
                f"{route}: tensor {index} of shape {tuple(tensor.shape)} was written after it was sent. "
                "Neither sender nor receiver may write into it: clone it first."
            )


def _tensors(thing: object) -> Iterator[Tensor]:
    """Yield the tensors in a message, wherever in its fields, tuples, lists and dictionaries they are."""
    inside: Iterable[object] = ()
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, tuple | list):
        inside = thing
    elif isinstance(thing, dict):
        inside = thing.values()
    elif is_dataclass(thing):
        inside = [getattr(thing, field.name, None) for field in fields(thing)]
    for each in inside:
        yield from _tensors(each)
