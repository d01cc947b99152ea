"""Guards: they keep stale gradients from doing harm, without correcting them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from akkordeon.staleness.compensation import Arrival, Compensation, Compensator, publish, require


@publish("rate", "power")
@dataclass(frozen=True)
class StalenessScaledRate(Compensation):
    """A learning rate of η / (1 + τ)^p for a gradient of staleness τ: stable, and slow.

    Zhang et al. 2016, arXiv 1511.05950, divide by τ; Jiang et al. (DynSGD), SIGMOD 2017, by 1 + τ, so that fresh
    gradients are unchanged. The rate is scaled instead of the gradient, since Adam ignores the scale of gradients; a
    decoupled weight decay scales with the rate.

    Args:
        power: p.

    Raises:
        ValueError: a value is out of range.
    """

    power: float = 1.0

    once = True

    def __post_init__(self) -> None:
        require(self.power >= 0, f"power must be at least 0, not {self.power}")

    @override
    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        return _Factor(lambda staleness: float((1 + staleness) ** -self.power))


@publish("limit", "limit", limit=8)
@dataclass(frozen=True)
class StalenessLimit(Compensation):
    """Drops gradients of staleness R or more, and counts them as too stale.

    Maranjyan et al. (Ringmaster ASGD), ICML 2025, arXiv 2501.16168, algorithm 1. This is for single gates;
    `launch(max_staleness=...)` does it for the whole network, and admits only as many batches as can return in time.

    Args:
        limit: R.

    Raises:
        ValueError: a value is out of range.
    """

    limit: int

    once = True

    def __post_init__(self) -> None:
        require(self.limit >= 1, f"limit must be at least 1, not {self.limit}: no gradient would be applied")

    @override
    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        return _Factor(lambda staleness: 1.0 if staleness < self.limit else 0.0)


class _Factor(Compensator):
    def __init__(self, of_staleness: Callable[[int], float]) -> None:
        self._of_staleness = of_staleness

    def weigh(self, arrival: Arrival) -> float:
        return self._of_staleness(arrival.staleness)
