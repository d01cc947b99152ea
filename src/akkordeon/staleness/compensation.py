"""What a compensation is: whatever a gate does about late gradients, beside any base optimizer.

A gate asks its compensators, in the order given, at six moments; most of them answer at one or two::

    forward       predict   the weights to run forward with, instead of the live ones
    backward      recall    the weights to run forward again with, where activations are recomputed
    a gradient    weigh     how much of a step it is worth; nothing drops it
                  correct   the gradient to hand on
    an update     follow    change the weights after the optimizer's step
                  notice    see what all of that has made of them
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.optim import Optimizer

Gradients = Sequence[Tensor | None]
"""One per parameter of a gate that requires a gradient, None where there is none."""


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


class Compensator(ABC):  # noqa: B024 - each does another part of this, so no part is a must
    """A compensation at work on the parameters of one gate, with whatever state it keeps."""

    def weigh(self, arrival: Arrival) -> float:  # noqa: ARG002
        """Return by what to multiply the learning rate for this gradient; 0 drops it, counted as too stale.

        Where a gate accumulates several batches per update, the mean over those counts.
        """
        return 1.0

    def correct(self, gradients: Gradients, arrival: Arrival) -> list[Tensor | None]:  # noqa: ARG002
        """Return the gradient to hand on; what is given is left as it is.

        Args:
            gradients: as it arrived, or as the compensator before this one has corrected it; see `Compensation.dense`.
            arrival: how stale it is, and the weights then and now.
        """
        return list(gradients)

    def follow(self, gradients: Gradients, staleness: float) -> None:  # noqa: B027 - most do nothing
        """Change the weights after the optimizer's step.

        Args:
            gradients: that the optimizer was given, clipped and accumulated where the gate does so.
            staleness: of the gradients in this update, on average.
        """

    def notice(self, staleness: float) -> None:  # noqa: B027 - most do nothing
        """See the weights as an update leaves them, and the optimizer's state.

        Args:
            staleness: as in `follow`.
        """

    def predict(self, staleness: int) -> list[Tensor] | None:  # noqa: ARG002
        """Return the weights to run a batch forward with, or None for the live ones, which are not to be written.

        Args:
            staleness: that the batch's gradient is expected to have, in updates of this gate.
        """
        return None

    def recall(self, staleness: int) -> list[Tensor] | None:  # noqa: ARG002
        """Return the weights to run a batch forward again with, or None for the live ones.

        Args:
            staleness: updates since its first forward.
        """
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return what it keeps from one gradient to the next: plain values and tensors. Nothing, by default."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - many keep nothing
        """Go on from what `state_dict` returned."""


class Compensation(ABC):
    """Describes a compensation; one description may serve any number of gates."""

    dense: ClassVar[bool] = False
    """Whether it computes with gradients, which then come with all their zeros."""

    needs_forward_weights: ClassVar[bool] = False
    """Whether `Arrival.then` is used, which gates with recomputed activations do not have."""

    needs_recomputed: ClassVar[bool] = False
    """Whether it is of use only where activations are recomputed."""

    once: ClassVar[bool] = False
    """Whether a gate can have one such compensation only."""

    @property
    def kind(self) -> str:
        """What it keeps, in words: saves tell compensators by it whose states do not fit each other."""
        return type(self).__name__

    def refusal(self, optimizer: Optimizer) -> str | None:  # noqa: ARG002
        """Return why it cannot work beside this optimizer, and what to use instead; None if it can."""
        return None

    @abstractmethod
    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        """Begin with fresh state.

        Args:
            parameters: live ones that require a gradient.
            optimizer: of them; its state may be replaced later, so it has to be read when it is needed.
        """
