"""Each rule that keeps a network safe, and how to switch it off: the oracle must notice within a few seeds."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from akkordeon.conductor.actor import Conductor
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
from tests.properties.simulation.scenario import FLAVOURS, Flavour

__all__ = ["MUTATIONS", "Mutation"]


@dataclass(frozen=True)
class Mutation:
    """A rule, switched off.

    Args:
        rule: what holds no longer.
        off: switches it off.
        flavours: where to look.
    """

    rule: str
    off: Callable[[], AbstractContextManager[Any]]
    flavours: tuple[Flavour, ...] = FLAVOURS


def _put(owner: Any, name: str, value: object) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: mock.patch.object(owner, name, value)


def _always(value: object) -> Callable[..., object]:
    return lambda *_arguments, **_named: value


def _same_gate(supervisor: Any, post: Any, actor: Any) -> bool:
    """Take every actor that is, or was, this gate for the present one."""
    return post.pulse is not None and actor.name.rsplit(" ", 1)[-1] == post.gate.name


def _commits_at_once(held: Any, now: float) -> bool:
    return True


def _keeps_all(entries: Any, attached: Any, newest: int) -> int:
    return 0


def _grants_all(membership: Any, sentinel: Any) -> int:
    return int(sentinel.in_flight)


def _takes_along(entries: Any, term: int) -> None:
    entries.term = term


def _first_waiting(box: Any) -> Any:
    return next((batch for batch in box if batch.waits), None)


def _silent_by_time(pulse: Any, now: float, lease: float) -> bool:
    return bool(now - pulse.heard > lease)


def _forgets_retired(supervisor: Any, names: Any, context: Any) -> None:
    return None


def _tick_once(supervisor: Any, context: Any) -> Any:
    supervisor.retired.clear()
    return TICK(supervisor, context)


TICK = GateSupervisor.tick

MUTATIONS = (
    Mutation(
        "a batch that was applied is not applied again", _put(PendingBatches, "was_applied", _always(value=False))
    ),
    Mutation("what was applied travels with a copy", _put(PendingBatches, "applied", ())),
    Mutation(
        "a gradient meets the forward of its own attempt",
        _put(PendingBatches, "_is_own_attempt", _always(value=True)),
        ("slow", "wide"),
    ),
    Mutation("an attempt is computed once at a gate", _put(PendingBatches, "_has_been_here", _always(value=False))),
    Mutation("gates forget what no sentinel waits for", _put(PendingBatches, "_forget_below", _always(value=None))),
    Mutation("gates forget sentinels that are gone", _put(PendingBatches, "attend", _keeps_all)),
    Mutation("nothing is begun for sentinels that are gone", _put(PendingBatches, "is_gone", _always(value=False))),
    Mutation(
        "nothing is begun for batches that are over",
        _put(PendingBatches, "_is_over", _always(value=False)),
        ("reordering",),
    ),
    Mutation(
        "nothing is applied that nobody waits for",
        _put(GateActor, "_is_awaited", _always(value=True)),
        ("wide", "sleep"),
    ),
    Mutation("no update without a lease", _put(HeldLease, "allows_update", _commits_at_once), ("sleep",)),
    Mutation(
        "a lease runs from when it was asked for", _put(HeldLease, "began", lambda _held, _lease: math.inf), ("sleep",)
    ),
    Mutation(
        "nothing is applied that is too stale",
        _put(GateActor, "_is_too_stale", _always(value=False)),
        ("poison", "wide"),
    ),
    Mutation("no more is let in than there is room for", _put(Membership, "window", _grants_all)),
    Mutation(
        "copies of replaced gates are not kept", _put(GateSupervisor, "_holds", _same_gate), ("conductor", "partitions")
    ),
    Mutation(
        "copies that were overtaken are not kept",
        _put(GateSupervisor, "_is_newest", _always(value=True)),
        ("reordering", "wide"),
    ),
    Mutation("copies are finite", _put(copies, "all_finite", _always(value=True)), ("numbers",)),
    Mutation("gates hand copies over", _put(copies.Copies, "maybe", _always(value=None))),
    Mutation("sentinels know the latest attempt", _put(InFlight, "_is_latest_attempt", _always(value=True))),
    Mutation("gates ignore what is of another term", _put(PendingBatches, "is_of_this_term", _always(value=True))),
    Mutation("a term takes nothing from the one before", _put(PendingBatches, "rewire", _takes_along)),
    Mutation("a term that is over is over", _put(GateSupervisor, "_next_term", lambda supervisor: supervisor.term)),
    Mutation("gates keep to the newest lease", _put(HeldLease, "is_news", _always(value=True)), ("reordering",)),
    Mutation(
        "sentinels keep to the newest orders", _put(SentinelActor, "_is_news", _always(value=True)), ("reordering",)
    ),
    Mutation("what is of a term that is over does not count", _put(InFlight, "_is_of_this_term", _always(value=True))),
    Mutation("what is overdue is sent again", _put(InFlight, "overdue", _always(value=[]))),
    Mutation("what is lost is given up", _put(InFlight, "lost", _always(value=[]))),
    Mutation("a batch has three tries", _put(in_flight, "STRIKES", 1000), ("poison",)),
    Mutation("the last try goes alone", _put(InFlight, "next_waiting", _first_waiting), ("poison",)),
    Mutation("a gate is not restarted for ever", _put(GateSupervisor, "_may_restart", _always(value=True)), ("storm",)),
    Mutation("who waits may have slept", _put(Heartbeat, "is_silent", _silent_by_time), ("sleep",)),
    Mutation("silence is death", _put(Heartbeat, "is_silent", _always(value=False))),
    Mutation("those to end are told again", _put(GateSupervisor, "tick", _tick_once)),
    Mutation(
        "the next conductor knows who is to end", _put(GateSupervisor, "find_retired", _forgets_retired), ("conductor",)
    ),
    Mutation("the register is written", _put(Conductor, "_write", _always(value=None)), ("conductor",)),
)
