"""Traces batches: what each actor computed of which batch, when, and on which worker."""

import threading
import time
from dataclasses import dataclass
from typing import Literal, NamedTuple

from akkordeon.actor import Ref
from akkordeon.messages.batches import Route
from akkordeon.messages.reports import Observe

MOST_SLICES = 5_000
"""That an actor keeps between two reports; more are left out and counted."""


class Slice(NamedTuple):
    """Something that was computed of a batch.

    Args:
        what: "forward", "backward", "update", "evaluation" or "loss".
        sentinel: whose batch.
        incarnation: of the sentinel.
        seq: number of the batch.
        attempt: of the batch.
        began: in seconds on the clock of the process; of the recording, once a recorder has it.
        over: likewise.
        worker: thread that computed.
    """

    what: str
    sentinel: str
    incarnation: int
    seq: int
    attempt: int
    began: float
    over: float
    worker: str

    def shifted(self, seconds: float) -> "Slice":
        """Return it by another clock."""
        return self._replace(began=round(self.began + seconds, 7), over=round(self.over + seconds, 7))


@dataclass(frozen=True, slots=True)
class Slices:
    """From a gate or a sentinel, to a recorder: what was traced since the last time.

    Args:
        name: of the gate or the sentinel.
        role: which of both.
        rows: in the order in which they were over.
        wall: what to add to seconds of this process for those since 1970.
        lost: slices that there was no room for.
    """

    name: str
    role: Literal["gate", "sentinel"]
    rows: tuple[Slice, ...]
    wall: float
    lost: int = 0


class SliceKeeper:
    """Keeps the slices of an actor, while somebody wants them.

    Args:
        name: of the gate or the sentinel.
        role: which of both.

    Attributes:
        on: whether somebody does.
    """

    def __init__(self, name: str, role: Literal["gate", "sentinel"]) -> None:
        self.on = False
        self._name = name
        self._role: Literal["gate", "sentinel"] = role
        self._rows: list[Slice] = []
        self._lost = 0
        self._reader: Ref | None = None

    def note(self, what: str, route: Route, began: float, over: float, worker: str | None = None) -> None:
        """Keep a slice; the worker is this thread unless another one is named."""
        if len(self._rows) >= MOST_SLICES:
            self._lost += 1
            return
        batch, thread = route.batch, worker or threading.current_thread().name
        self._rows.append(Slice(what, batch.sentinel, batch.incarnation, batch.seq, route.attempt, began, over, thread))

    def observed(self, message: Observe) -> None:
        """Tell the reader what there is, and trace on or not, as it wants."""
        self.on, self._reader = message.trace, message.reader
        self.tell()

    def tell(self) -> None:
        """Tell the reader what there is."""
        if self._rows and self._reader is not None:
            wall = time.time() - time.monotonic()
            self._reader.tell(Slices(self._name, self._role, tuple(self._rows), wall, self._lost))
            self._rows = []


class Tracing:
    """Counts the batches that were traced whole.

    Args:
        wanted: how many are to be.
    """

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._seen: dict[tuple[str, int, int], set[tuple[str, str]]] = {}
        self._gates: set[str] = set()

    def has_enough(self, message: Slices) -> bool:
        """Take in slices; return whether so many batches were through all gates and back."""
        if message.role == "gate":
            self._gates.add(message.name)
        for each in message.rows:
            self._seen.setdefault((each.sentinel, each.incarnation, each.seq), set()).add((message.name, each.what))
        return sum(map(self._is_whole, self._seen.values())) >= self._wanted

    def _is_whole(self, parts: set[tuple[str, str]]) -> bool:
        there = {what for _, what in parts}
        ways = ("forward", "backward")
        return "loss" in there and all((gate, way) in parts for gate in self._gates for way in ways)
