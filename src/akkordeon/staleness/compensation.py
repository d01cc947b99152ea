"""The interface of compensations: what a gate does about stale gradients, beside any base optimizer.

A gate calls its compensators, in the order given, at six moments; most compensators act at one or two::

    forward       predict   weights to run forward with, instead of the live ones
    backward      recall    weights to run forward again with, where activations are recomputed
    gradient      weigh     factor of the learning rate; 0 drops the gradient
                  correct   the gradient to pass on
    update        follow    change the weights after the optimizer's step
                  notice    observe the final weights
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from torch import Tensor
from torch.optim import Optimizer

Gradients = Sequence[Tensor | None]
"""One per parameter of a gate that requires a gradient, None where there is none."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Facts about a gradient when it reaches its gate.

    Args:
        staleness: updates of this gate between the batch's forward and now.
        now: the live weights, one per parameter that requires a gradient.
        then: the weights of this batch's own forward, likewise.
        version_forward: updates the gate had applied at the forward.
        version_now: updates it has applied now.
        in_flight: at the forward, batches that the gate had forwarded and whose gradients had not come back.
        sentinel: where the batch came from.
        batch_size: number of samples.
    """

    staleness: int
    now: Sequence[Tensor]
    then: Sequence[Tensor]
    version_forward: int = 0
    version_now: int = 0
    in_flight: int = 0
    sentinel: str = ""
    batch_size: int = 1


class Compensator(ABC):  # noqa: B024 - each overrides some methods, and none of them is mandatory
    """A compensation at work on the parameters of one gate, with its state."""

    def weigh(self, arrival: Arrival) -> float:  # noqa: ARG002
        """Return the factor of the learning rate for this gradient; 0 drops it and counts it as too stale.

        Where a gate accumulates several batches per update, the mean of their factors applies.
        """
        return 1.0

    def correct(self, gradients: Gradients, arrival: Arrival) -> list[Tensor | None]:  # noqa: ARG002
        """Return the corrected gradient; the given one must not be changed.

        Args:
            gradients: as they arrived, or as the previous compensator corrected them; see `Compensation.dense`.
            arrival: their staleness, and the weights then and now.
        """
        return list(gradients)

    def follow(self, gradients: Gradients, staleness: float) -> None:  # noqa: B027 - most do nothing
        """Change the weights after the optimizer's step.

        Args:
            gradients: given to the optimizer, clipped and accumulated where the gate does so.
            staleness: mean over the gradients in this update.
        """

    def notice(self, staleness: float) -> None:  # noqa: B027 - most do nothing
        """Observe the weights as an update leaves them, and the optimizer's state.

        Args:
            staleness: as in `follow`.
        """

    def predict(self, staleness: int) -> list[Tensor] | None:  # noqa: ARG002
        """Return the weights to run a batch forward with, or None for the live ones. Do not write to the live ones.

        Args:
            staleness: expected of the batch's gradient, in updates of this gate.
        """
        return None

    def recall(self, staleness: int) -> list[Tensor] | None:  # noqa: ARG002
        """Return the weights to run a batch forward again with, or None for the live ones.

        Args:
            staleness: updates since its first forward.
        """
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return the state kept between gradients, as plain values and tensors; nothing by default."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - many keep nothing
        """Continue from the result of `state_dict`."""


class Compensation(ABC):
    """Description of a compensation; one description may serve any number of gates."""

    dense: ClassVar[bool] = False
    """Whether it computes with gradients, which are then made dense: all their zeros are stored."""

    needs_forward_weights: ClassVar[bool] = False
    """Whether it uses `Arrival.then`, which gates with recomputed activations do not keep."""

    needs_recomputed: ClassVar[bool] = False
    """Whether it works only where activations are recomputed."""

    once: ClassVar[bool] = False
    """Whether a gate can have at most one such compensation."""

    @property
    def kind(self) -> str:
        """Name of the form of its state; a saved state fits compensators of the same kind only."""
        return type(self).__name__

    def refusal(self, optimizer: Optimizer) -> str | None:  # noqa: ARG002
        """Return why it cannot work beside this optimizer, and what to use instead; None if it works."""
        return None

    @abstractmethod
    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        """Return a compensator with fresh state.

        Args:
            parameters: live ones that require a gradient.
            optimizer: of these parameters; its state may be replaced later, so read it when it is needed.
        """


def require(condition: bool, rule: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Check an argument of a compensation.

    Raises:
        ValueError: it breaks the rule.
    """
    if not condition:
        raise ValueError(rule)


Published = TypeVar("Published", bound=Compensation)

COMPENSATIONS: dict[str, Callable[[float | None], Compensation]] = {}
"""Makers of all published compensations, by name; each takes the number behind the name, or None."""


def publish(name: str, number: str | None = None, **settings: Any) -> Callable[[type[Published]], type[Published]]:
    """Publish a compensation under a name of the command line, as in ``--compensation linear=0.5``.

    Args:
        name: on the command line.
        number: the argument that a number behind the name sets; None if there is no such argument.
        **settings: further arguments.
    """

    def add(kind: type[Published]) -> type[Published]:
        def make(value: float | None) -> Compensation:
            if value is None:
                return kind(**settings)
            if number is None:
                raise ValueError("it takes no number")
            is_whole = kind.__annotations__[number] is int
            return kind(**settings | {number: round(value) if is_whole else value})

        COMPENSATIONS[name] = make
        return kind

    return add
