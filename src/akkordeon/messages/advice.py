"""Finds neighbouring gates that compute so little that they are faster as one."""

from collections.abc import Sequence

from akkordeon.messages.states import GateStatus

BREAK_EVEN = 100e-6
"""Seconds per message below which a gate is not worth an actor: some ten hops with a computation, on threads. To hand
on then costs more than a tenth of what is computed, and the interpreter lock lets nobody else go on meanwhile."""


def to_merge(gates: Sequence[GateStatus]) -> tuple[tuple[GateStatus, ...], ...]:
    """Return the groups of neighbours that should be one gate each, so that all gates are above the break-even.

    The one that computes least is put together with the lesser of its neighbours, again and again. Where a gate has
    not computed enough to tell, there are no groups.

    Args:
        gates: of a network, in the order of the chain.
    """
    if not all(gate.seconds for gate in gates):
        return ()
    groups: list[tuple[GateStatus, ...]] = [(gate,) for gate in gates]
    while len(groups) > 1 and _seconds(least := min(groups, key=_seconds)) < BREAK_EVEN:
        place = groups.index(least)
        around = [each for each in (place - 1, place + 1) if 0 <= each < len(groups)]
        first = min(place, min(around, key=lambda each: _seconds(groups[each])))
        groups[first : first + 2] = [groups[first] + groups[first + 1]]
    return tuple(group for group in groups if len(group) > 1)


def advice(gates: Sequence[GateStatus]) -> str:
    """Say in one line which gates to merge, and why; nothing where there are none."""
    groups = to_merge(gates)
    if not groups:
        return ""
    which = ", and ".join(f"gates {_listed([repr(gate.name) for gate in group])} into one" for group in groups)
    seconds = _listed([f"{gate.seconds * 1e6:.0f}" for group in groups for gate in group])
    return (
        f"to go faster, merge {which}: they compute {seconds} us per message, "
        f"and below {BREAK_EVEN * 1e6:.0f} us a gate is not worth what it costs to hand messages on"
    )


def _seconds(group: tuple[GateStatus, ...]) -> float:
    return sum(gate.seconds for gate in group)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
