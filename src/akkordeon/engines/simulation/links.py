"""Draws when messages arrive: in order between any two actors, unless a fault reorders them."""

import random

from akkordeon.engines.simulation.actors import SimActor
from akkordeon.engines.simulation.clock import Simulation
from akkordeon.engines.simulation.delays import Delays, draws
from akkordeon.engines.simulation.faults import Faults

HELD_BACK = 10.0
"""How many times as long as any other message one is on its way that is held back, on average."""

NEVER = -1.0
"""When the last message arrived on a link that has seen none."""


class Links:
    """Draws when messages arrive, and which are lost, doubled or held back.

    Args:
        engine: who counts the faults.
        seed: decides both, each with a generator of its own.
        delays: how long messages are on their way.
        faults: how many of them are lost, doubled or held back.
        tick: how long one that takes no time is held back, in place of that.
    """

    def __init__(self, engine: Simulation, seed: int, delays: Delays, faults: Faults, tick: float) -> None:
        self._engine = engine
        self._seconds = draws("links", delays.link, seed)
        self._faults = faults if faults.loss or faults.duplicates or faults.reordering else None
        self._drawn = random.Random(f"{seed} messages")  # noqa: S311 - a simulation, not a secret
        self._tick = tick
        self._held: dict[tuple[SimActor, SimActor], list[float]] = {}

    def news(self, ended: SimActor, watcher: SimActor) -> float:
        """Return when the news of an end arrives, which may overtake what the actor told."""
        return self._engine.time + self._seconds(ended.name, watcher.name)

    def dues(self, sender: SimActor, receiver: SimActor, message: object) -> tuple[float, ...]:
        """Return when a message that is sent now arrives; twice, or never, where there are faults."""
        due = self._engine.time + self._seconds(sender.name, receiver.name)
        if self._faults is None:
            return (self._in_order(sender, receiver, due),)
        faults, drawn = self._faults, self._drawn.random
        if self._engine.time >= faults.until or (faults.lossy and not faults.lossy(sender.name, receiver.name)):
            return (self._in_order(sender, receiver, due),)
        if drawn() < faults.loss:
            self._engine.inject("loss", receiver.name, message)
            return ()
        if drawn() < faults.reordering:
            return (self._hold_back(sender, receiver, due),)
        due = self._in_order(sender, receiver, due)
        if drawn() < faults.duplicates:
            self._engine.inject("duplicate", receiver.name, message)
            again = self._engine.time + self._seconds(sender.name, receiver.name)
            return due, self._in_order(sender, receiver, again)
        return (due,)

    def is_clear(self, sender: SimActor, receiver: SimActor) -> bool:
        """Whether a message that takes no time may be there at once, and overtakes none."""
        return sender.links.get(receiver, NEVER) < self._engine.time

    def _in_order(self, sender: SimActor, receiver: SimActor, due: float) -> float:
        last = sender.links.get(receiver, NEVER)
        if due > self._engine.time or last >= self._engine.time:
            sender.links[receiver] = due = max(due, last)
        if self._held and (held := self._held.get((sender, receiver))):
            self._count_overtaken(receiver, held, due)
        return due

    def _hold_back(self, sender: SimActor, receiver: SimActor, due: float) -> float:
        usual = max(due - self._engine.time, self._tick)
        due = max(due, sender.links.get(receiver, NEVER)) + self._drawn.expovariate(1.0) * HELD_BACK * usual
        self._held.setdefault((sender, receiver), []).append(due)
        return due

    def _count_overtaken(self, receiver: SimActor, held: list[float], due: float) -> None:
        """Count a message as out of order only once a later one will overtake it."""
        for each in [each for each in held if each > due]:
            held.remove(each)
            self._engine.inject("reordering", receiver.name, None)
        held[:] = [each for each in held if each > self._engine.time]
