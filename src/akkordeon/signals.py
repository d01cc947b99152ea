"""Messages that are not about a batch on its way: between sentinels and their providers, and with the conductor."""

from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor

from akkordeon.actor import Ref
from akkordeon.tree import flatten, rebuild

__all__ = [
    "Abort",
    "Chain",
    "Connect",
    "Drain",
    "Draw",
    "DrawFailed",
    "Drawn",
    "Exhausted",
    "Forget",
    "GateState",
    "GateStatus",
    "GoOn",
    "Held",
    "Hold",
    "Left",
    "Mark",
    "Position",
    "Start",
    "StateOf",
    "StatusOf",
    "Wire",
]


@dataclass(frozen=True, slots=True)
class Wire:
    """Who is up- and downstream of a gate; None is the sentinel that the batch came from."""

    upstream: Ref | None
    downstream: Ref | None


@dataclass(frozen=True, slots=True)
class Chain:
    """What a sentinel knows of the gates: where batches enter on the way there and back, and all their names."""

    first: Ref
    last: Ref
    gates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Connect:
    """From outside, an ask to a gate before any batch: its neighbours."""

    wire: Wire


@dataclass(frozen=True, slots=True)
class Forget:
    """From the conductor, to a gate: a sentinel has left; keep nothing of it, and ignore what still comes from it.

    Args:
        incarnation: of the sentinel; no two sentinels of a network have the same.
        oldest: the oldest incarnation still attached; nothing older will ever come.
    """

    incarnation: int
    oldest: int


@dataclass(frozen=True, slots=True)
class StateOf:
    """From outside, an ask to a gate: what it is now. Answered with a `GateState`, or with why it cannot be told.

    Args:
        whole: all that it takes to go on from here; otherwise weights and buffers alone.
    """

    whole: bool


@dataclass(frozen=True, slots=True)
class GateState:
    """What a gate is at one version, as copies.

    Args:
        name: of the gate.
        prefix: of its weights' names in the whole network.
        version: updates applied so far.
        weights: parameters and buffers, as `nn.Module.state_dict` has them, by their names in the gate.
        rest: what optimizer, scheduler, compensations and accumulation keep, further buffers, and random generators.
        kinds: what these are, in words.
    """

    name: str
    prefix: str
    version: int
    weights: dict[str, Tensor]
    rest: dict[str, Any]
    kinds: dict[str, str]

    def pack(self) -> tuple[tuple[object, ...], list[Tensor]]:
        """See `Parcel.pack`."""
        leaves, structure = flatten((self.weights, self.rest, self.kinds))
        return (self.name, self.prefix, self.version, structure), leaves

    @classmethod
    def unpack(cls, header: tuple[object, ...], tensors: list[Tensor]) -> Self:
        """See `Parcel.unpack`."""
        name, prefix, version, structure = header
        assert isinstance(name, str)
        assert isinstance(prefix, str)
        assert isinstance(version, int)
        return cls(name, prefix, version, *rebuild(structure, tensors))


@dataclass(frozen=True, slots=True)
class StatusOf:
    """From outside, an ask to a gate or a sentinel: how it stands."""


@dataclass(frozen=True, slots=True)
class GateStatus:
    """How a gate stands.

    Args:
        name: of the gate.
        version: updates applied so far.
        open: batches that were forwarded and whose gradient has not come back.
        staleness_mean: over all updates; 0 before the first.
        staleness_max: over all updates.
        skipped: gradients that were not applied, by reason.
    """

    name: str
    version: int
    open: int
    staleness_mean: float
    staleness_max: int
    skipped: dict[str, int]


@dataclass(frozen=True, slots=True)
class Draw:
    """From a sentinel, to its provider: prepare that many batches."""

    amount: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a loader stood once: before batch `index` of `epoch`.

    Args:
        epoch: from 1.
        index: from 0.
        state: what the loader needs to go on from there: plain values and tensors.
        exact: whether it will go on with the same batches; otherwise its epoch must begin again.
        length: batches in an epoch; None where the loader does not tell.
    """

    epoch: int
    index: int
    state: list[Any]
    exact: bool
    length: int | None


@dataclass(frozen=True, slots=True)
class Drawn:
    """From a provider, to its sentinel: a batch, as the loader yielded it.

    Args:
        epoch: from 1.
        item: the batch.
        index: in its epoch, from 0.
        mark: where the loader stood before; given now and then, and with the first batch of each epoch.
    """

    epoch: int
    item: object
    index: int = 0
    mark: Mark | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Exhausted:
    """From a provider, to its sentinel: all batches of an epoch have been drawn.

    Args:
        epoch: which.
        batches: how many it had.
        mark: where the loader stands now: before the first batch of the next epoch.
    """

    epoch: int
    batches: int
    mark: Mark | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class DrawFailed:
    """From a provider, to its sentinel: the loader raised."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Start:
    """From the conductor, to a sentinel: begin."""


@dataclass(frozen=True, slots=True)
class Drain:
    """From the conductor, to a sentinel: send nothing new, wait for what is in flight, then leave."""


@dataclass(frozen=True, slots=True)
class Abort:
    """From the conductor, to a sentinel: the network has failed; leave at once."""


@dataclass(frozen=True, slots=True)
class Hold:
    """From the conductor, to a training sentinel: send nothing until `GoOn`, and say when nothing is in flight.

    Args:
        pause: which; its number is in the answer.
    """

    pause: int


@dataclass(frozen=True, slots=True)
class GoOn:
    """From the conductor, to a training sentinel: send again."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a training sentinel stands in its data, with nothing in flight; plain values and tensors.

    Args:
        epoch: of the batch that is next.
        index: of the batch that is next.
        mark: where its loader stood, at that batch or before.
        figures: what it knows of that epoch so far.
    """

    epoch: int
    index: int
    mark: Mark
    figures: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Held:
    """From a training sentinel, to the conductor: nothing is in flight; the position is None where it has not begun."""

    sentinel: str
    incarnation: int
    pause: int
    position: Position | None


@dataclass(frozen=True, slots=True)
class Left:
    """From a sentinel, to the conductor: it has nothing in flight any more, and will send nothing.

    Args:
        sentinel: its name.
        incarnation: which of that name.
        error: why it failed; None if it did not.
        position: where it stood in its data, if it trained.
    """

    sentinel: str
    incarnation: int
    error: Exception | None
    position: Position | None = None
