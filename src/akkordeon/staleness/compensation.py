"""What a compensation is: a correction of each gradient, before any base optimizer sees it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

__all__ = ["Arrival", "Compensation", "Compensator"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """All that is known of a gradient when it reaches its gate.

    Args:
        staleness: updates of this gate between the batch's forward and now.
        now: the live weights, one per parameter that requires a gradient.
        then: the weights of *this batch's* forward, likewise.
        version_forward: updates the gate had applied at the forward.
        version_now: updates it has applied now.
        in_flight: batches that the gate had forwarded and not yet seen back, at the forward.
        sentinel: where the batch came from.
        batch_size: its number of samples.
    """

    staleness: int
    now: Sequence[Tensor]
    then: Sequence[Tensor]
    version_forward: int = 0
    version_now: int = 0
    in_flight: int = 0
    sentinel: str = ""
    batch_size: int = 1


class Compensator(ABC):
    """A compensation at work on one set of parameters, with whatever state it keeps."""

    @abstractmethod
    def correct(self, gradients: Sequence[Tensor | None], arrival: Arrival) -> list[Tensor | None]:
        """Return the gradients to hand to the optimizer; those given are left as they are.

        Args:
            gradients: one per parameter that requires a gradient, None where there is none.
            arrival: how stale they are, and the weights then and now.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what it keeps from one gradient to the next: plain values and tensors. Nothing, by default."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - many keep nothing
        """Go on from what `state_dict` returned."""


class Compensation(ABC):
    """Describes a compensation; one description may serve any number of gates."""

    needs_forward_weights: ClassVar[bool] = False
    """Whether `Arrival.then` is used, which gates with recomputed activations do not have."""

    @abstractmethod
    def start(self, parameters: Sequence[Tensor]) -> Compensator:
        """Begin with fresh state for these parameters."""
