"""Chosen delays of gradients: the time that everything takes on the simulated clock, and the batches in flight.

A unit is a millisecond of virtual time, in which nothing else happens than the profile says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from torch import nn

from akkordeon.actor import Engine
from akkordeon.engines import Stepped, Threads
from akkordeon.engines.simulation.delays import Delay, Delays
from akkordeon.gate.description import Gate

UNIT = 1e-3
QUEUE = "queue"
"""Name of a gate without weights behind all others: batches wait there for their gradients."""


@dataclass(frozen=True)
class Profile:
    """Chosen delays of gradients.

    Args:
        name: in tables.
        in_flight: batches in flight.
        delays: time of every step; None for the threads engine.
        queue: batches that wait at once behind the last gate for their gradients; 0 without such a gate.
    """

    name: str
    in_flight: int
    delays: Delays | None
    queue: int = 0

    def synchronous(self) -> "Profile":
        """Return the same with one batch in flight."""
        return replace(self, in_flight=1)

    def gates(self, gates: Sequence[Gate]) -> list[Gate]:
        """Return the gates to launch."""
        behind = [Gate(QUEUE, nn.Identity(), computations=self.queue)] if self.queue else []
        return [*gates, *behind]

    def engine(self, seed: int) -> Engine:
        """Return an engine with these delays."""
        return Threads() if self.delays is None else Stepped(seed, delays=self.delays)


def uniform(staleness: int) -> Profile:
    """Give every gradient at every gate the same staleness: all batches wait in one queue, behind the last gate.

    This is the case of free-running workers that take turns; staleness is one less than their number.
    """
    return Profile(f"τ = {staleness} at all gates", staleness + 1, _working(QUEUE, "Backward", lambda _: UNIT), 1)


def scattered(longest: int) -> Profile:
    """Let each batch wait for a time drawn evenly from 0 to `longest` units; one batch enters per unit."""

    def waits(random: Random) -> float:
        return random.uniform(0, longest * UNIT)

    def work(random: Random, actor: str, kind: str) -> float:
        if actor == f"gate {QUEUE}" and kind == "Backward":
            return waits(random)
        return UNIT if actor == "gate 0" and kind == "Forward" else 0.0

    delays = Delays(link=0.0, turn=0.0, work=work)
    return Profile(f"τ drawn from 0..{longest}", longest + 1, delays, longest + 1)


def pipelined(gates: int) -> Profile:
    """Give gate k of P a staleness of exactly 2(P - 1 - k): one batch per unit each way, as in Kosson et al."""

    def link(_random: Random, sender: str, receiver: str) -> float:
        if sender.startswith("gate") and receiver.startswith("gate"):
            return UNIT
        # Keeps a gradient and the forward that it meets in the right order.
        return 0.3 * UNIT if sender.startswith("sentinel") and receiver != "gate 0" else 0.0

    delays = Delays(link=link, turn=0.0, work=_only("gate 0", "Forward", lambda _: UNIT))
    return Profile("τ = 2(P-1-k)", 2 * (gates - 1) + 1, delays)


def one_forward_one_backward(gates: int, in_flight: int | None = None) -> Profile:
    """Give gate k of P a staleness of P - 1 - k, with P batches in flight; forward and backward take a unit each."""
    delays = Delays(link=0.0, turn=0.0, work=UNIT)
    if in_flight is None:
        return Profile("τ = P-1-k", gates, delays)
    return Profile(f"{in_flight} in flight", in_flight, delays)


def on_threads(in_flight: int) -> Profile:
    """Use the threads engine on this machine; its timing decides the staleness."""
    return Profile(f"threads, {in_flight} in flight", in_flight, None)


KINDS: dict[str, Callable[..., Profile]] = {
    "uniform": uniform,
    "scattered": scattered,
    "pipelined": pipelined,
    "1F1B": one_forward_one_backward,
    "threads": on_threads,
}


def profile(kind: str, *arguments: int) -> Profile:
    """Return a profile by its name, which can be sent to other processes."""
    return KINDS[kind](*arguments)


def _working(gate: str, kind: str, take: Callable[[Random], float]) -> Delays:
    return Delays(link=0.0, turn=0.0, work=_only(f"gate {gate}", kind, take))


def _only(who: str, what: str, take: Callable[[Random], float]) -> Delay:
    return lambda random, actor, kind: take(random) if (actor, kind) == (who, what) else 0.0
