"""Messages between the conductor and its gates and sentinels: leases, orders, heartbeats, copies."""

from dataclasses import dataclass
from typing import NamedTuple

from akkordeon.actor import Ref, Urgent
from akkordeon.messages.batches import BatchId
from akkordeon.messages.states import GateState, Position


class MessageNumber(NamedTuple):
    """Orders the leases and the orders of a network: a receiver keeps to the highest that has come.

    Args:
        conductor: how many conductors there were; those of a later one are newer.
        serial: number of the message, among those of its conductor.
    """

    conductor: int = 0
    serial: int = 0


class Setting(NamedTuple):
    """A setting of a gate's optimizer that was changed while the network runs.

    Args:
        name: of the setting, such as "lr".
        value: that it has now.
        change: number of the change at this gate, from 1.
    """

    name: str
    value: float
    change: int


@dataclass(frozen=True, slots=True)
class Wire:
    """The neighbours of a gate, up- and downstream; None is the sentinel that the batch came from."""

    upstream: Ref | None
    downstream: Ref | None


@dataclass(frozen=True, slots=True)
class Chain:
    """The gates as sentinels see them: where batches enter on the way there and back, and the names of all gates."""

    first: Ref
    last: Ref
    gates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lease(Urgent):
    """From the conductor, to a gate, periodically and whenever it changes: permission to update, and all it must know.

    Each lease is complete, so a lost one does no harm. A gate whose lease has expired applies no gradient until it
    gets another: it may have been replaced without knowing.

    Args:
        number: increases; a gate ignores an older lease that comes late.
        conductor: which sent it.
        answers: number of the gate's latest `Alive` that has come; 0 before the first.
        seconds: how long the lease lasts, from when the gate sent that.
        term: number of this wiring, raised each time a gate is replaced.
        wire: the neighbours in this term; None while there is no wiring, and the gate keeps what it has.
        attached: incarnations of the sentinels whose batches may come; the gate keeps nothing of others.
        newest: the highest incarnation there is; batches of a higher one may come as well.
        max_staleness: the gate skips gradients that are more updates late than this.
        settings: changed since the network began.
    """

    number: MessageNumber
    conductor: Ref
    answers: int
    seconds: float
    term: int
    wire: Wire | None
    attached: tuple[int, ...]
    newest: int
    max_staleness: float
    settings: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True)
class Orders(Urgent):
    """From the conductor, to a sentinel, periodically and whenever they change; the first start the sentinel.

    Orders are complete each time, so lost ones do no harm.

    Args:
        number: increases; a sentinel ignores older orders that come late.
        conductor: which sent them.
        term: number of the present wiring.
        chain: where batches go; None while there is no wiring, so nothing can be sent.
        window: how many batches the sentinel may have in flight.
        pause: number of the pause: send nothing, and answer `Held` once nothing is in flight; or None.
        leave: send nothing new, wait for what is in flight, then leave.
        cause: why the network has failed: leave at once.
        blame: the batch that ended the last term, if a gate failed at one; None where that is not known.
        auto: the sentinel searches for the best number in flight, up to the window.
        accumulates: some gate must be told when an epoch ends.
    """

    number: MessageNumber
    conductor: Ref
    term: int
    chain: Chain | None
    window: int
    pause: int | None = None
    leave: bool = False
    cause: Exception | None = None
    blame: BatchId | None = None
    auto: bool = False
    accumulates: bool = False


class InHand(NamedTuple):
    """A batch that waits at a gate, or is computed there.

    Args:
        batch: which.
        attempt: of it.
        seconds: for which it has been computed; 0 while it waits for others, or for a worker.
    """

    batch: BatchId
    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Alive:
    """From a gate or a sentinel, to the conductor: the heartbeat that answers each lease, or orders.

    The conductor passes those of gates on to the sentinels, which send nothing again that somebody has in hand.

    Args:
        actor: which; a replaced gate has another ref.
        number: of its answers, from 1.
        term: whose wiring it keeps to.
        moved: its progress; a network in which no such number changes has stalled.
        waiting: what it has in hand, for a person to read; empty if there is nothing.
        in_hand: all batches that a gate has in hand; not those that it waits for, since others have these.
    """

    actor: Ref
    number: int
    term: int
    moved: int
    waiting: str
    in_hand: tuple[InHand, ...] = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """From a gate, to the conductor, now and then: a snapshot to restart it from.

    Args:
        actor: which; the conductor ignores copies of a gate that was replaced.
        state: of the gate, without the random generators, which all gates of a process share.
        applied: incarnation and number of the batches applied that may come again.
    """

    actor: Ref
    state: GateState
    applied: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class NoCopy:
    """From a gate, to the conductor: it cannot be copied, so it cannot be restarted either."""

    actor: Ref
    error: Exception


@dataclass(frozen=True, slots=True)
class Held:
    """From a training sentinel, to the conductor: nothing is in flight; the position is None where it has not begun."""

    actor: Ref
    pause: int
    position: Position | None


@dataclass(frozen=True, slots=True)
class Left:
    """From a sentinel, to the conductor: it has nothing in flight any more, and will send nothing.

    Args:
        actor: which.
        error: why it failed; None if it did not.
        position: where it stood in its data, if it trained.
    """

    actor: Ref
    error: Exception | None
    position: Position | None = None
