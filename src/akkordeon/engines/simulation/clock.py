"""The parts of the simulation, as they see each other: the engine with its clock, and the timeline of events.

Each part needs a few members of the engine; naming these here keeps the parts from importing each other in a circle.
"""

from collections.abc import Callable
from typing import Any, Protocol

from akkordeon.actor import Ref
from akkordeon.engines.mailbox import Job
from akkordeon.engines.simulation.actors import Executor, SimActor


class Simulation(Protocol):
    """The engine: its clock, its actors, and the record of events."""

    time: float
    steps: int
    dead_letters: int
    bodies: dict[str, SimActor]
    current: SimActor | None

    def act(
        self, body: SimActor, function: Callable[..., object], arguments: tuple[object, ...]
    ) -> BaseException | None:
        """Run a turn or a computation of an actor; return what it raised."""

    def end(self, body: SimActor, reason: BaseException | None) -> None:
        """End an actor and tell its watchers."""

    def crash(self, ref: Ref, *, silent: bool = False) -> None:
        """End an actor in the middle of its turn."""

    def jump(self, ref: Ref, seconds: float) -> None:
        """Move the clock that an actor sees."""

    def inject(self, kind: str, name: str, message: object = None) -> None:
        """Count and note a fault."""

    def note(self, event: str, name: str, message: object) -> None:
        """Record an event and show it to the observers."""

    def record(self, event: str, name: str, message: object) -> None:
        """Take an event into the fingerprint."""

    def show(self, event: str, name: str, message: object) -> None:
        """Show an event to the observers."""


class Timeline(Protocol):
    """The events of a timed simulation, as processors and the fault injector see them."""

    wakes: Callable[[str, str], float]
    worker: Any
    """The virtual worker whose turn or computation is being handled; None for an actor with its own processor."""

    def soon(self, function: Callable[..., None], *arguments: object) -> None:
        """Call after everything else that is due now."""

    def after(self, seconds: float, function: Callable[..., None], *arguments: object) -> None:
        """Call when `seconds` have passed."""

    def wake(self, body: SimActor) -> None:
        """Schedule an actor if it has a turn to take and is in none."""

    def begin_turn(self, body: SimActor, by: Executor) -> bool:
        """Run the next turn of an actor; return False if it has ended or is paused."""

    def begin_work(self, body: SimActor, job: Job, by: Executor) -> None:
        """Run a computation of an actor."""

    def notify(self, ended: SimActor, watcher: SimActor, message: object, *, late: bool) -> None:
        """Tell a watcher that an actor has ended."""
