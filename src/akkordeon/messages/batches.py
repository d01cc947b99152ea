"""Messages about batches, with sender, receiver and payload.

The life of a batch:

    provider ──Drawn──▶ sentinel ──Forward──▶ gate 1 ──Forward──▶ … ──▶ gate n ──Forward──▶ sentinel   loss
                        sentinel ◀─Backward── gate 1 ◀─Backward── … ◀── gate n ◀─Backward── sentinel   gradient
    validation:         sentinel ──Validate─▶ gate 1 ──Validate─▶ … ──▶ gate n ──Validate─▶ sentinel

A batch is one token: it is at one place at any time. Targets stay with the sentinel. What leaves the last gate goes to
the batch's `home`, and so does what leaves gate 1 on the way back: the batch is done. A gate that cannot compute a
batch sends its home a `Refused`.

Any of these may be lost, come twice or come late. Only the sentinel sends a batch again, as another attempt; gates keep
the latest attempt, apply a batch once, and ignore what was sent in another term.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from akkordeon.actor import Ref
from akkordeon.messages.tree import Tree

NOTHING_TO_LEARN = "nothing to learn"
"""In a trail: the gate has no trainable weights, or no gradient reached them. Not a fault, so not counted."""

NON_FINITE = "non-finite"
"""In a trail: the gradient held a NaN or an infinity, so it was not applied."""


TOO_STALE = "too stale"
"""In a trail: the gradient came after more updates than are allowed, so it was not applied."""

ALREADY_APPLIED = "already applied"
"""In a trail: an earlier attempt had been applied, so this one was not. Not a fault, so not counted."""


class BatchId(NamedTuple):
    """Which batch: unique in a network for ever, since a sentinel that comes back has a new incarnation."""

    network: str
    sentinel: str
    incarnation: int
    seq: int

    def __str__(self) -> str:
        return f"{self.seq} of sentinel {self.sentinel!r}"


class Route(NamedTuple):
    """What every data message says of its batch.

    Args:
        batch: which batch.
        attempt: how often the sentinel has sent it, from 1.
        term: which wiring of the network it was sent in; gates ignore what is of another.
        low: the sentinel's oldest open batch; gates forget what they keep for older ones.
        home: the sentinel.
        size: number of samples.
    """

    batch: BatchId
    attempt: int
    term: int
    low: int
    home: Ref
    size: int


@dataclass(frozen=True, slots=True)
class _Onward:
    route: Route
    x: Tree


@dataclass(frozen=True, slots=True)
class Forward(_Onward):
    """From the sentinel or a gate, downstream, in training: the input of the next gate, or the network's output.

    Args:
        squares: of the last known norms of the gradients of all gates that it has passed, summed up; see `Gate.norm`.
        differentiable: of each tensor of the input, whether a gradient can come back to something trainable; empty for
            none, as of what the loader yields.
    """

    squares: float = 0.0
    differentiable: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Validate(_Onward):
    """As `Forward`, in validation and test: nothing is kept, no gradient comes back."""


@dataclass(frozen=True, slots=True)
class Backward:
    """From the sentinel or a gate, upstream: a gradient for each tensor that the receiver had sent forward.

    Args:
        route: which batch.
        gradients: one per tensor of the receiver's output, None where there is none (integers, unused outputs). Empty
            when there is nothing to learn from: the receiver forgets the batch without an update. Empty also on the
            way home from gate 1: nobody needs the gradient of the data.
        trail: what the gates did so far, from the last one on: the staleness of the update, or why there was none.
        squares: of the norms of this batch's gradients at all gates that it has passed, summed up; see `Gate.norm`.
        ends_epoch: it is of no batch, but says that all batches of an epoch are through; see `Gate.remainder`.
    """

    route: Route
    gradients: tuple[Tensor | None, ...]
    trail: tuple[int | str, ...] = ()
    squares: float = 0.0
    ends_epoch: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """From a gate, straight to the sentinel: the batch could not be computed, and the gate's weights are untouched."""

    route: Route
    error: Exception
