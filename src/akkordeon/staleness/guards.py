"""Guards: what keeps late gradients from doing harm, without making up for anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.optim import Optimizer

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator


@dataclass(frozen=True)
class StalenessScaledRate(Compensation):
    """A learning rate of η / (1 + τ)^p for a gradient of staleness τ: stable, and slow.

    Zhang et al. 2016, arXiv 1511.05950, divide by τ; Jiang et al. (DynSGD), SIGMOD 2017, by 1 + τ, so that what is not
    late is not changed. It is the rate that is scaled, and not the gradient, to which Adam would pay no attention; a
    decoupled weight decay goes with the rate.

    Args:
        power: p.

    Raises:
        ValueError: a value is out of range.
    """

    power: float = 1.0

    once: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.power < 0:
            raise ValueError(f"power must not be negative, and is {self.power}")

    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:  # noqa: ARG002
        """See `Compensation.start`."""
        return _Scaled(self.power)


class _Scaled(Compensator):
    def __init__(self, power: float) -> None:
        self._power = power

    def weigh(self, arrival: Arrival) -> float:
        return float((1 + arrival.staleness) ** -self._power)


@dataclass(frozen=True)
class StalenessLimit(Compensation):
    """Drops gradients of staleness R or more, and counts them as too stale.

    Maranjyan et al. (Ringmaster ASGD), ICML 2025, arXiv 2501.16168, algorithm 1. `launch(max_staleness=...)` does it
    for the whole network, and lets no more batches in than can come in time; this is for single gates.

    Args:
        limit: R.

    Raises:
        ValueError: a value is out of range.
    """

    limit: int

    once: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1, or no gradient would be applied, and is {self.limit}")

    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:  # noqa: ARG002
        """See `Compensation.start`."""
        return _Limit(self.limit)


class _Limit(Compensator):
    def __init__(self, limit: int) -> None:
        self._limit = limit

    def weigh(self, arrival: Arrival) -> float:
        return 1.0 if arrival.staleness < self._limit else 0.0
