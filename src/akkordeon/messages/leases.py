"""Messages between the conductor and its gates and sentinels: leases, orders, heartbeats, copies."""

from dataclasses import dataclass

from akkordeon.actor import Ref, Urgent
from akkordeon.messages.batches import BatchId
from akkordeon.messages.states import GateState, Position

Setting = tuple[str, float, int]
"""Of a gate: its name, its value, and the number of the change, from 1."""


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
class Lease(Urgent):
    """From the conductor, to a gate, every so often and whenever it changes: leave to go on, and with whom.

    It says all anew each time, so a lost one does no harm. A gate whose lease is over applies no gradient until it has
    another: it may have been replaced without knowing.

    Args:
        number: increases; an older one that comes late is ignored.
        conductor: who says so.
        answers: number of the gate's latest `Alive` that has come; 0 before the first.
        seconds: how long the lease lasts, from when the gate sent that.
        term: number of this wiring, raised each time a gate is replaced.
        wire: the neighbours in this term; None while there is no wiring, and the gate keeps what it has.
        attached: incarnations of the sentinels whose batches may come; nothing is kept of others.
        newest: the highest incarnation there is; batches of a higher one may come as well.
        max_staleness: gradients that are more updates late than this come too late.
        settings: what was set otherwise since the network began.
    """

    number: tuple[int, int]
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
    """From the conductor, to a sentinel, every so often and whenever they change: what it is to do; the first: begin.

    They say all anew each time, so lost ones do no harm.

    Args:
        number: increases; older ones that come late are ignored.
        conductor: who says so.
        term: number of the present wiring.
        chain: where batches go in it; None while there is none: nothing can be sent.
        window: how many batches it may have out.
        pause: number of the pause in which it is to send nothing, and to say when nothing is in flight; or None.
        leave: send nothing new, wait for what is in flight, then leave.
        cause: why the network has failed: leave at once.
        blame: the batch that ended the last term, if a gate failed at one; None where that is not known.
        auto: it is to find out itself how many of the window to have out.
    """

    number: tuple[int, int]
    conductor: Ref
    term: int
    chain: Chain | None
    window: int
    pause: int | None = None
    leave: bool = False
    cause: Exception | None = None
    blame: BatchId | None = None
    auto: bool = False


@dataclass(frozen=True, slots=True)
class Alive:
    """From a gate or a sentinel, to the conductor: it has got its lease, or its orders.

    Args:
        actor: which; a replaced one has another ref.
        number: of its answers, from 1.
        term: whose wiring it keeps to.
        moved: how far it has come; a network in which no such number changes does not move.
        waiting: what it has in hand, for a person to read; empty if there is nothing.
    """

    actor: Ref
    number: int
    term: int
    moved: int
    waiting: str


@dataclass(frozen=True, slots=True)
class Copy:
    """From a gate, to the conductor, now and then: what to restart it from.

    Args:
        actor: which; of a gate that was replaced it is ignored.
        state: of the gate, but for the random generators, which all gates of a process share.
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
