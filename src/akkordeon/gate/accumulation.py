"""The mean of the gradients of several batches, for gates that update once per so many."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

Gradients = list[Tensor | None]


class Update(NamedTuple):
    """What changes the weights once.

    Args:
        gradients: one per parameter, None where there is none.
        staleness: of the batch, or on average of the batches.
        rate: by what to multiply the learning rate; likewise.
    """

    gradients: Gradients
    staleness: float
    rate: float


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
        self._staleness = self._rate = 0.0

    @torch.no_grad()
    def add(self, update: Update) -> Update | None:
        """Take in what a batch alone would do; return the mean where it was the last of so many, otherwise None.

        Args:
            update: its gradients are the sum's own from now on.
        """
        gradients = update.gradients
        self._sum = [_plus(a, b) for a, b in zip(self._sum, gradients, strict=True)] if self._sum else gradients
        self._count += 1
        self._staleness += update.staleness
        self._rate += update.rate
        if self._count < self._amount:
            return None
        mean: Gradients = [None if total is None else total.div_(self._amount) for total in self._sum]
        result = Update(mean, self._staleness / self._amount, self._rate / self._amount)
        self._sum, self._count, self._staleness, self._rate = [], 0, 0.0, 0.0
        return result

    def expected(self, in_flight: int) -> int:
        """Return how many updates so many more batches will make."""
        return (self._count + in_flight) // self._amount

    def state_dict(self) -> dict[str, Any]:
        """Return the batches taken in since the last mean: how many, and copies of their sums."""
        total = [None if g is None else g.to_dense().clone() for g in self._sum]
        return {"count": self._count, "sum": total, "staleness": self._staleness, "rate": self._rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._count, total = state["count"], state["sum"]
        self._staleness, self._rate = state.get("staleness", 0.0), state.get("rate", float(self._count))
        self._sum = [None if each is None else each.clone() for each in total]


def _plus(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if total is None or gradient is None:
        return gradient if total is None else total
    if total.is_sparse and not gradient.is_sparse:
        return gradient + total
    return total.add_(gradient)
