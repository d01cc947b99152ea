"""Tools for tests of programs that use a network: end a gate as if its process had died; wait for a condition."""

from collections.abc import Callable

from akkordeon.actor import Ref
from akkordeon.conductor.requests import Roster, Who
from akkordeon.errors import ActorNotFound, NoAnswer
from akkordeon.network import waiting
from akkordeon.network.network import Network


def crash(network: Network, gate: str, *, timeout: float = 10.0) -> None:
    """End a gate in the middle of its work, as if its process had died; the network restarts it.

    Raises:
        ActorNotFound: there is no such gate, or it is being restarted already; lists those that live.
    """
    roster: Roster = network.conductor.ask(Who(), timeout=timeout)
    found: list[Ref] = [ref for ref in roster.gates if ref.name.split(" ", 1)[1] == gate]
    if not found:
        there = ", ".join(ref.name for ref in roster.gates) or "none"
        raise ActorNotFound(f"no gate {gate!r} lives now; there are: {there}")
    network.engine.stop(found[0])


def wait_until(network: Network, condition: Callable[[], object], *, seconds: float = 10.0, what: str = "it") -> None:
    """Wait until a condition holds, checking it every two milliseconds; time passes on the network's engine.

    Raises:
        NoAnswer: it did not hold within `seconds`.
    """
    if not waiting.wait_until(network.engine, condition, seconds=seconds, pause=0.002):
        raise NoAnswer(f"waited {seconds:g} s for {what}, in vain")
