"""Injects faults into simulated actors: crashes, pauses, partitions, clocks that jump, slow hosts."""

import math
import random

from akkordeon.engines.simulation.actors import Host, SimActor
from akkordeon.engines.simulation.clock import Simulation, Timeline
from akkordeon.engines.simulation.faults import RATES, Faults

SLOWNESS = 10.0


class FaultInjector:
    """Draws when a fault strikes, which actor, and for how long.

    Args:
        engine: whose actors.
        timeline: schedules what follows from a fault.
        seed: decides it.
        faults: how often.
    """

    def __init__(self, engine: Simulation, timeline: Timeline, seed: int, faults: Faults) -> None:
        self._engine = engine
        self._timeline = timeline
        self._faults = faults
        self._drawn = random.Random(f"{seed} mishaps")  # noqa: S311 - a simulation, not a secret
        self._speeds = random.Random(f"{seed} speeds")  # noqa: S311
        self._rates = [getattr(faults, name) for name in RATES]
        self._cuts: list[frozenset[Host]] = []
        self._news: list[tuple[SimActor, SimActor, object]] = []  # held back by a partition
        self.next = self._draw_next(0.0)

    def born(self, body: SimActor) -> None:
        """Draw whether the host of a new actor is slow."""
        if not self._faults.slow or self._engine.time >= self._faults.until:
            return
        is_first = body.host.bodies == [body]
        if is_first and self._may_strike(body) and self._speeds.random() < self._faults.slow:
            body.host.slowness = SLOWNESS
            self._engine.inject("slow", body.name)

    def strike(self) -> None:
        """Inject the fault that is due, and draw when the next one is."""
        self.next = self._draw_next(self._engine.time)
        victims = [body for body in self._engine.bodies.values() if self._may_strike(body)]
        (kind,) = self._drawn.choices(RATES, self._rates)
        if not victims:
            return
        if kind == "partitions":
            self.cut_off(self._drawn.sample(victims, self._drawn.randint(1, len(victims))), self._draw_seconds())
            return
        victim = self._drawn.choice(victims)
        if kind == "crashes":
            self._engine.crash(victim.context.me, silent=self._drawn.random() < self._faults.silent)
        elif kind == "pauses":
            self.pause(victim, self._draw_seconds())
        else:
            self._engine.jump(victim.context.me, self._drawn.uniform(-self._faults.jump, self._faults.jump))

    def pause(self, body: SimActor, seconds: float) -> None:
        """Pause a host; a pause that it is in already may become longer."""
        host, now = body.host, self._engine.time
        until = max(host.paused_until, now + seconds)
        host.lost += until - max(host.paused_until, now)
        host.paused_until = until
        self._engine.inject("pause", body.name)
        self._timeline.after(until - now, self._go_on, host)

    def cut_off(self, bodies: list[SimActor], seconds: float) -> None:
        """Partition these hosts from all others."""
        cut = frozenset(body.host for body in bodies)
        self._cuts.append(cut)
        self._engine.inject("partition", ", ".join(body.name for body in bodies))
        self._timeline.after(seconds, self._heal, cut)

    def separate(self, one: SimActor, other: SimActor) -> bool:
        """Whether two actors are cut off from each other."""
        return bool(self._cuts) and any((one.host in cut) != (other.host in cut) for cut in self._cuts)

    def keep_news(self, ended: SimActor, watcher: SimActor, message: object) -> None:
        """Keep the news of an end until the partition heals."""
        self._news.append((ended, watcher, message))

    def draw_up_to(self, amount: int) -> int:
        """Draw how many of `amount` messages a crash lets out."""
        return self._drawn.randint(0, amount)

    def _go_on(self, host: Host) -> None:
        if host.paused_until <= self._engine.time:
            for body in host.bodies:
                self._timeline.wake(body)

    def _heal(self, cut: frozenset[Host]) -> None:
        self._cuts.remove(cut)
        self._engine.note("heals", "", None)
        news, self._news = self._news, []
        for ended, watcher, message in news:
            self._timeline.notify(ended, watcher, message, late=True)

    def _may_strike(self, body: SimActor) -> bool:
        if body.inbox:
            return False
        return body.parent is not None if self._faults.victims is None else self._faults.victims(body.name)

    def _draw_next(self, now: float) -> float:
        total = sum(self._rates)
        due = now + self._drawn.expovariate(total) if total else math.inf
        return due if due < self._faults.until else math.inf

    def _draw_seconds(self) -> float:
        shortest, longest = self._faults.seconds
        seconds = shortest * math.exp(self._drawn.uniform(0.0, math.log(longest / shortest)))
        return min(seconds, self._faults.until - self._engine.time)
