"""Runs a gate's computations beside its actor: knows which are running, and how long they take."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from akkordeon.actor import Context, Outstanding
from akkordeon.gate.pace import Pace
from akkordeon.gate.random_state import RANDOM_LOCK
from akkordeon.messages.batches import Route
from akkordeon.messages.leases import InHand
from akkordeon.messages.slices import SliceKeeper

T = TypeVar("T")

What = Literal["forward", "backward", "evaluation"]
WHATS: tuple[What, ...] = ("forward", "backward", "evaluation")


@dataclass(eq=False, slots=True)
class _Computation:
    """One whose result has not been taken.

    Args:
        what: is computed of it; the end of a batch that has no gradient only waits for its turn.
        route: of which batch.
        asked: when, in seconds.
        began: when it got a worker; None before.
        worker: which, where batches are traced.
        outstanding: whether it still runs; None if there is nothing to compute.
    """

    what: What | Literal["end"]
    route: Route
    asked: float
    began: float | None = None
    worker: str = ""
    outstanding: Outstanding | None = None


class Computations:
    """The computations of one gate.

    Args:
        gate: its name.

    Attributes:
        pace: how long those for training take.
        tracer: keeps them, while somebody wants that.
        update: seconds that it took to use the results of backwards; in the simulation, engines know it alone.
        locked: seconds that they have waited for the random lock, by kind.
    """

    def __init__(self, gate: str) -> None:
        self.pace = Pace()
        self.tracer = SliceKeeper(gate, "gate")
        self.update = 0.0
        self.locked = dict.fromkeys(WHATS, 0.0)
        self._done = dict.fromkeys(WHATS, 0.0)  # seconds that those that are done took
        self._running: list[_Computation] = []

    def __len__(self) -> int:
        return len(self._running)

    @property
    def backwards(self) -> int:
        """How many of them are backwards."""
        return sum(each.what == "backward" for each in self._running)

    def run(
        self, what: What, route: Route, work: Callable[[], T], then: Callable[[T | Exception], None], context: Context
    ) -> None:
        """Compute something; call `then` in the actor's turn, with the result or with what was raised."""
        computation = _Computation(what, route, context.now())
        self._running.append(computation)

        # In quotes: otherwise each call makes the type again.
        def done(found: "tuple[T | Exception, float, float]") -> None:
            self._running.remove(computation)
            outstanding = computation.outstanding
            assert outstanding is not None
            computation.outstanding = None  # it holds on to this function: the tensors would stay until a collection
            self._done[what] += outstanding.over - outstanding.began
            result, seconds, waited = found
            self.locked[what] += waited
            if what != "evaluation":
                self.pace.add(what, seconds)
            if self.tracer.on and computation.worker:
                self.tracer.note(what, route, outstanding.began, outstanding.over, computation.worker)
            before = context.now()
            then(result)
            if what == "backward":
                self.update += (after := context.now()) - before
                if self.tracer.on and computation.worker:
                    self.tracer.note("update", route, before, after)

        begun = partial(_begun, work, computation, context.now, traced=self.tracer.on)
        computation.outstanding = context.compute(begun, done)

    def in_turn(self, route: Route, then: Callable[[], None], context: Context) -> None:
        """Call `then` when the results of all computations so far have been taken."""
        computation = _Computation("end", route, context.now())
        self._running.append(computation)

        def done() -> None:
            self._running.remove(computation)
            then()

        context.in_order(done)

    def in_hand(self, now: float) -> tuple[InHand, ...]:
        """Return the batches, and for how long each has been computed; to wait, before or after, does not count."""
        found = []
        for each in self._running:
            began, runs = each.began, each.outstanding is not None and not each.outstanding.done
            seconds = now - began if runs and began is not None else 0.0
            found.append(InHand(each.route.batch, each.route.attempt, seconds))
        return tuple(found)

    def seconds(self, now: float) -> dict[What, float]:
        """Return how long those of each kind have taken, until `Usage.now`."""
        seconds = dict(self._done)
        for each in self._running:
            if each.outstanding is not None and each.what != "end":
                seconds[each.what] += (each.outstanding.over if each.outstanding.done else now) - each.outstanding.began
        return seconds

    def look(self, now: float) -> list[str]:
        """Say what is running, for a person to read; may be called from another thread."""
        running = list(self._running)
        return [
            f"has been computing the {each.what} of batch {each.route.batch} for {now - each.asked:.1f} s"
            for each in running
        ]


def _begun(
    work: Callable[[], T], computation: _Computation, now: Callable[[], float], *, traced: bool
) -> tuple[T | Exception, float, float]:
    """Run what may fail; return how long it took in here, and how long it waited for the random lock, too."""
    computation.began = began = now()
    if traced:
        computation.worker = threading.current_thread().name
    waited = RANDOM_LOCK.waited.seconds
    result = caught(work)
    return result, now() - began, RANDOM_LOCK.waited.seconds - waited


def caught(work: Callable[[], T]) -> T | Exception:
    """Run what may fail without harm to the gate; return the error as a value."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a module may raise anything
        return error
