"""The one module of the tests that reads private attributes: the oracle sees what no message says.

`tests/test_privacy.py` holds all other modules to public names; `mutations` alone names private rules as well.
"""

from collections.abc import Sequence

from akkordeon.actor import Inbox
from akkordeon.conductor.actor import Conductor
from akkordeon.gate.actor import GateActor
from akkordeon.messages.batches import BatchId
from akkordeon.messages.leases import Orders
from akkordeon.messages.reports import Notice
from akkordeon.sentinel.actor import SentinelActor

# Conductor


def gates_are_wired(conductor: Conductor) -> bool:
    """Whether batches can go all the way through the gates."""
    return conductor._gates.chain is not None


def is_paused(conductor: Conductor) -> bool:
    """Whether all training is paused."""
    return conductor._pauses.number is not None


def events(conductor: Conductor, after: int) -> Sequence[Notice]:
    """Return the events published after the first ones."""
    log = conductor._events
    return [] if log.count <= after else list(log._events)[after:]


# Gates


def latest_sign(gate: GateActor) -> int:
    """Return the number of the latest heartbeat that a gate sent."""
    return max(gate._lease.heartbeats, default=0)


def lease_number(gate: GateActor) -> tuple[int, int]:
    """Return the number of the lease that a gate keeps to."""
    return gate._lease.number


def term_of_gate(gate: GateActor) -> int:
    """Return the term that a gate keeps to."""
    return gate._pending.term


def open_batches(gate: GateActor) -> int:
    """Return how many batches are between forward and gradient at a gate."""
    return len(gate._pending)


def pending(gate: GateActor) -> dict[BatchId, int]:
    """Return the attempts of the batches between forward and gradient at a gate."""
    return {batch: entry.attempt for batch, entry in gate._pending._table.items()}


def known_incarnations(gate: GateActor) -> set[int]:
    """Return the sentinels of whose batches a gate remembers anything."""
    return set(gate._pending._known)


def remembers(gate: GateActor, incarnation: int) -> bool:
    """Whether a gate remembers anything of the batches of a sentinel."""
    return incarnation in gate._pending._known


def applied(gate: GateActor, incarnation: int) -> set[int]:
    """Return the batches of a sentinel that a gate remembers to have applied."""
    return gate._pending._known[incarnation].applied


def is_pending(gate: GateActor, batch: BatchId) -> int | None:
    """Return the attempt of a batch between forward and gradient at a gate; None if there is none."""
    entry = gate._pending._table.get(batch)
    return None if entry is None else entry.attempt


def in_hand(gate: GateActor) -> str:
    """Say what a gate computes, or has parked until it gets a lease."""
    return f"{gate._parked}{gate._computations}" if gate._parked or gate._computations else ""


def computing(gate: GateActor) -> dict[tuple[BatchId, int], float]:
    """Return the attempts of batches that a gate computes, and since when on its clock."""
    running = [each for each in gate._computations._running if each.outstanding and not each.outstanding.done]
    return {each.route[:2]: each.began for each in running if each.began is not None}


def skipped(gate: GateActor) -> dict[str, int]:
    """Return how many messages a gate did not act on, by reason."""
    return gate._tally.skipped


# Sentinels


def incarnation(sentinel: SentinelActor) -> int:
    """Return the incarnation of a sentinel."""
    return sentinel._incarnation


def orders(sentinel: SentinelActor) -> Orders | None:
    """Return the orders that a sentinel keeps to."""
    return sentinel._orders


def has_left(sentinel: SentinelActor) -> bool:
    """Whether a sentinel has sent that it left."""
    return sentinel._left is not None


def sent(sentinel: SentinelActor) -> int:
    """Return how many batches a sentinel has begun to send."""
    return sentinel._seq


# Engine


def waiting(inbox: Inbox) -> Sequence[object]:
    """Return the messages that wait in an inbox of the simulation."""
    messages: Sequence[object] = list(inbox._messages)  # type: ignore[attr-defined] # not in the port
    return messages
