"""The debug mode of an engine: copy what is sent, compare later, and name who wrote where nobody may."""

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from akkordeon.actor import Parcel
from akkordeon.errors import SharedTensorWritten


@dataclass(frozen=True, slots=True)
class _Sent:
    route: str
    tensors: list[Tensor]
    copies: list[Tensor]

    def check(self) -> None:
        for index, (tensor, copy) in enumerate(zip(self.tensors, self.copies, strict=True)):
            same = (tensor == copy) | (tensor.isnan() & copy.isnan())
            if not bool(same.all()):
                raise SharedTensorWritten(
                    f"{self.route}: tensor {index} of shape {tuple(tensor.shape)} was written after it was sent. "
                    "Neither sender nor receiver may write into it: clone it first."
                )


class WriteDetector:
    """Keeps copies of the last `keep` messages with tensors, and compares each when it leaves, or at the end."""

    def __init__(self, keep: int = 64) -> None:
        self._keep = keep
        self._sent: deque[_Sent] = deque()

    def saw(self, message: object, sender: str, receiver: str) -> None:
        """Note a message.

        Raises:
            SharedTensorWritten: an earlier message was written into.
        """
        if not isinstance(message, Parcel):
            return
        tensors = [tensor for tensor in message.pack()[1] if tensor is not None]
        route = f"{type(message).__name__} from {sender} to {receiver}"
        with torch.no_grad():
            self._sent.append(_Sent(route, tensors, [tensor.clone() for tensor in tensors]))
        if len(self._sent) > self._keep:
            self._sent.popleft().check()

    def check(self) -> None:
        """Compare everything still kept.

        Raises:
            SharedTensorWritten: a message was written into.
        """
        while self._sent:
            self._sent.popleft().check()
