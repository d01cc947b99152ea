"""Runs a gate's computations beside its actor: knows which are running, and how long they take."""

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

from akkordeon.actor import Context
from akkordeon.gate.pace import Pace
from akkordeon.messages.batches import BatchId

T = TypeVar("T")

What = Literal["forward", "backward", "evaluation"]


class Computations:
    """The computations of one gate.

    Attributes:
        pace: how long those for training take.
    """

    def __init__(self) -> None:
        self.pace = Pace()
        # What is computed of which batch, and since when, in seconds; waiting for a worker counts.
        self._running: list[tuple[What, BatchId, float]] = []

    def __len__(self) -> int:
        return len(self._running)

    @property
    def backwards(self) -> int:
        """How many of them are backwards."""
        return sum(what == "backward" for what, _, _ in self._running)

    def run(
        self, what: What, batch: BatchId, work: Callable[[], T], then: Callable[[T | Exception], None], context: Context
    ) -> None:
        """Compute something; call `then` in the actor's turn, with the result or with what was raised."""
        computation = (what, batch, context.now())
        self._running.append(computation)

        def done(timed: "tuple[T | Exception, float]") -> None:  # in quotes: otherwise each call makes the type again
            result, seconds = timed
            self._running.remove(computation)
            if what != "evaluation":
                self.pace.add(what, seconds)
            then(result)

        context.compute(partial(_timed, work, context.now), done)

    def look(self, now: float) -> list[str]:
        """Say what is running, for a person to read; may be called from another thread."""
        running = list(self._running)
        return [f"has been computing the {what} of batch {batch} for {now - at:.1f} s" for what, batch, at in running]


def _timed(work: Callable[[], T], now: Callable[[], float]) -> tuple[T | Exception, float]:
    """Run what may fail; return how long it took, too. Waiting for a worker does not count."""
    began = now()
    result = caught(work)
    return result, now() - began


def caught(work: Callable[[], T]) -> T | Exception:
    """Run what may fail without harm to the gate; return the error as a value."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a module may raise anything
        return error
