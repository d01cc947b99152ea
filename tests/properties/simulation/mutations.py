"""The rules that keep a network safe, and how to switch each off: the oracle must notice within a few seeds.

In the library, the docstring of each method named here names it as a `RULE`.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from akkordeon.conductor.gates import GateSupervisor
from akkordeon.conductor.heartbeat import Heartbeat
from akkordeon.conductor.sentinels import Membership
from akkordeon.gate import copies
from akkordeon.gate.actor import GateActor
from akkordeon.gate.lease import HeldLease
from akkordeon.gate.pending import PendingBatches
from akkordeon.sentinel import in_flight
from akkordeon.sentinel.actor import SentinelActor
from akkordeon.sentinel.in_flight import InFlight
from tests.properties.simulation.run import SimState
from tests.properties.simulation.scenario import FLAVOURS, Flavour

RULE = "Rule of the protocol"


@dataclass(frozen=True)
class Mutation:
    """A rule, switched off.

    Args:
        rule: does not hold any more.
        owner: of the function or constant that keeps the rule.
        name: of the function or constant.
        instead: takes its place.
        flavours: of the scenarios in which it is missed.
    """

    rule: str
    owner: Any
    name: str
    instead: object
    flavours: tuple[Flavour, ...] = FLAVOURS

    def off(self) -> AbstractContextManager[Any]:
        """Switch the rule off."""
        return mock.patch.object(self.owner, self.name, self.instead)


def _always(value: object) -> Callable[..., object]:
    return lambda *_arguments, **_named: value


def _same_gate(supervisor: Any, place: Any, actor: Any) -> bool:
    """Take every actor that is, or was, this gate for the present one."""
    return place.pulse is not None and actor.name.rsplit(" ", 1)[-1] == place.gate.name


def _commits_at_once(gate: Any, now: float) -> bool:
    return True


def _keeps_all(entries: Any, attached: Any, newest: int) -> int:
    return 0


def _grants_all(membership: Any, sentinel: Any) -> int:
    return int(sentinel.in_flight)


def _takes_along(entries: Any, term: int) -> None:
    entries.term = term


def _first_waiting(box: Any) -> Any:
    return next((batch for batch in box if batch.waits), None)


def _missing_by_time(box: Any, batch: Any, patience: int) -> bool:
    return bool(box._now - batch.sent > box._limit / 4 * patience)


def _missing_anywhere(box: Any, *, may_be_lost: bool) -> list[Any]:
    return [batch for batch in box if not batch.waits and box._is_missing(batch, 1)]


def _silent_by_time(pulse: Any, now: float, lease: float) -> bool:
    return bool(now - pulse.heard > lease)


MUTATIONS = (
    Mutation("a batch that was applied is not applied again", PendingBatches, "was_applied", _always(value=False)),
    Mutation("what was applied travels with a copy", PendingBatches, "applied", ()),
    Mutation(
        "a gradient meets the forward of its own attempt",
        PendingBatches,
        "_is_own_attempt",
        _always(value=True),
        ("slow", "wide"),
    ),
    Mutation("an attempt is computed once at a gate", PendingBatches, "_has_been_here", _always(value=False)),
    Mutation("gates forget what no sentinel waits for", PendingBatches, "_forget_below", _always(value=None)),
    Mutation("gates forget sentinels that are gone", PendingBatches, "attend", _keeps_all),
    Mutation("nothing is begun for sentinels that are gone", PendingBatches, "is_gone", _always(value=False)),
    Mutation(
        "nothing is begun for batches that are over",
        PendingBatches,
        "_is_over",
        _always(value=False),
        ("reordering",),
    ),
    Mutation(
        "nothing is applied that nobody waits for",
        GateActor,
        "_is_awaited",
        _always(value=True),
        ("storm", "slow"),
    ),
    Mutation("no update without a lease", HeldLease, "allows_update", _commits_at_once, ("sleep",)),
    Mutation("a lease runs from when it was asked for", HeldLease, "began", lambda _gate, _lease: math.inf, ("sleep",)),
    Mutation(
        "nothing is applied that is too stale",
        GateActor,
        "_is_too_stale",
        _always(value=False),
        ("poison", "wide"),
    ),
    Mutation("no more is let in than there is room for", Membership, "window", _grants_all),
    Mutation(
        "copies of replaced gates are not kept", GateSupervisor, "_holds", _same_gate, ("conductor", "partitions")
    ),
    Mutation(
        "copies that were overtaken are not kept",
        GateSupervisor,
        "_is_newest",
        _always(value=True),
        ("reordering", "wide"),
    ),
    Mutation("copies are finite", copies, "all_finite", _always(value=True), ("numbers",)),
    Mutation("gates hand copies over", copies.Copies, "maybe", _always(value=None)),
    Mutation(
        "sentinels know the latest attempt",
        InFlight,
        "_is_latest_attempt",
        _always(value=True),
        ("duplicates", "partitions", "reordering"),
    ),
    Mutation("gates ignore what is of another term", PendingBatches, "is_of_this_term", _always(value=True)),
    Mutation("a term takes nothing from the one before", PendingBatches, "rewire", _takes_along),
    Mutation("a term that is over is over", GateSupervisor, "_next_term", lambda supervisor: supervisor._state.term),
    Mutation("gates keep to the newest lease", HeldLease, "is_news", _always(value=True), ("reordering",)),
    Mutation("sentinels keep to the newest orders", SentinelActor, "_is_news", _always(value=True), ("reordering",)),
    Mutation("what is of a term that is over does not count", InFlight, "_is_of_this_term", _always(value=True)),
    Mutation("what is missing is sent again", InFlight, "overdue", _always(value=[])),
    Mutation("what somebody has is not sent again", InFlight, "_is_missing", _missing_by_time, ("patient",)),
    Mutation("a gate tells what waits there", GateActor, "_waiting", _always(value=()), ("patient", "slow")),
    Mutation("only a new term sends again where nothing is lost", InFlight, "overdue", _missing_anywhere, ("patient",)),
    Mutation("what is lost is given up", InFlight, "lost", _always(value=[]), ("stuck",)),
    Mutation("nothing waits behind what hangs", InFlight, "why_stuck", _always(value=""), ("stuck",)),
    Mutation("a batch has three tries", in_flight, "STRIKES", 1000, ("poison",)),
    Mutation("the last try goes alone", InFlight, "next_waiting", _first_waiting, ("poison",)),
    Mutation("a gate is not restarted for ever", GateSupervisor, "_may_restart", _always(value=True), ("storm",)),
    Mutation("who waits may have slept", Heartbeat, "is_silent", _silent_by_time, ("sleep",)),
    Mutation("silence is death", Heartbeat, "is_silent", _always(value=False)),
    Mutation("a stop is repeated until the actor ends", GateSupervisor, "_stop_retired", _always(value=None)),
    Mutation(
        "the next conductor knows which actors must end",
        GateSupervisor,
        "_find_retired",
        _always(value=None),
        ("conductor",),
    ),
    Mutation("the state of the conductor is written", SimState, "write", _always(value=None), ("conductor",)),
)
