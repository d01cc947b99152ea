"""The mean of the gradients of several batches, for gates that update once per so many."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Accumulation"]

Gradients = list[Tensor | None]


class Accumulation:
    """Sums up gradients; every `amount` batches it yields their mean.

    As in a plain loop that divides each loss by `amount` and adds up `.grad`; bit for bit so where `amount` is a power
    of two.

    Args:
        amount: batches per update.
    """

    def __init__(self, amount: int) -> None:
        self._amount = amount
        self._sum: Gradients = []
        self._count = 0

    @torch.no_grad()
    def add(self, gradients: Gradients) -> Gradients | None:
        """Take in the gradients of a batch; return the mean where it was the last of so many, otherwise None.

        Args:
            gradients: one per parameter, None where there is none; they are the sum's own from now on.
        """
        self._sum = [_plus(a, b) for a, b in zip(self._sum, gradients, strict=True)] if self._sum else gradients
        self._count += 1
        if self._count < self._amount:
            return None
        mean: Gradients = [None if total is None else total.div_(self._amount) for total in self._sum]
        self._sum, self._count = [], 0
        return mean

    def state_dict(self) -> dict[str, object]:
        """Return the batches taken in since the last mean: how many, and copies of their sum."""
        return {"count": self._count, "sum": [None if g is None else g.to_dense().clone() for g in self._sum]}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from there."""
        count, total = state["count"], state["sum"]
        assert isinstance(count, int)
        assert isinstance(total, Sequence)
        self._count, self._sum = count, [None if each is None else each.clone() for each in total]


def _plus(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if total is None or gradient is None:
        return gradient if total is None else total
    if total.is_sparse and not gradient.is_sparse:
        return gradient + total
    return total.add_(gradient)
