"""Hands the events of a running network to sinks and hooks, each on a thread of its own.

Actors never wait for a sink: what a slow one has no room for is dropped, and counted.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from akkordeon.actor import Engine, Ref
from akkordeon.conductor.requests import Record, Subscribe
from akkordeon.engines import Stepped
from akkordeon.errors import AkkordeonError, WiringError
from akkordeon.messages.reports import Notice, Report, SentinelStatus
from akkordeon.messages.slices import Slices, Tracing
from akkordeon.messages.states import GateStatus
from akkordeon.network.events import ALL_KINDS, Event
from akkordeon.network.waiting import wait_until

logger = logging.getLogger(__name__)

SAMPLE_EVERY = 0.5
"""Seconds between two samples of each gate and sentinel."""

QUEUED = 10_000
"""Events that may wait for a sink."""

PATIENCE = 5.0
"""Seconds that a sink has at the end for what still waits."""

CONSENT = 30.0
"""Seconds that the conductor has to say that it sends events."""


class Sink(Protocol):
    """Takes the events of a network. Whatever it raises costs its events, never the run."""

    def write(self, event: Event) -> None:
        """Take an event; called on a thread of the sink's own, in order."""

    def close(self) -> None:
        """Finish; nothing comes any more."""


class Channel:
    """Events on their way to one sink, handed over on a thread of its own.

    Args:
        sink: gets them.

    Attributes:
        lost: events that the sink did not take, for want of room or since it raised.
    """

    def __init__(self, sink: Sink) -> None:
        self.lost = 0
        self._sink = sink
        self._events: queue.Queue[Event | None] = queue.Queue(QUEUED)
        self._thread = threading.Thread(target=self._run, name=f"akkordeon sink {self}", daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        return type(self._sink).__name__

    def put(self, event: Event) -> None:
        """Hand an event over, or lose it."""
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._lose("takes its events too slowly")

    def close(self, deadline: float) -> None:
        """Let the sink finish; leave it behind where it does not in time."""
        with suppress(queue.Full):
            self._events.put(None, timeout=max(0.0, deadline - time.monotonic()))
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            logger.warning("sink %s is left behind with %d events: it does not end", self, self._events.qsize())
        elif self.lost:
            logger.warning("sink %s has lost %d events", self, self.lost)

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._sink.write(event)
            except Exception as error:  # noqa: BLE001 - a sink may raise anything
                self._lose(f"raised {type(error).__name__}: {error}")
        try:
            self._sink.close()
        except Exception as error:  # noqa: BLE001 - likewise
            self._lose(f"raised {type(error).__name__} when it was closed: {error}")

    def _lose(self, why: str) -> None:
        self.lost += 1
        if self.lost == 1:
            logger.warning("sink %s %s; the run goes on, without the events that it loses", self, why)


class Hooks:
    """A sink that calls functions with the records of the kinds they want.

    Attributes:
        calls: kinds and functions, in the order in which they are called.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, Callable[[Any], object]]] = []

    def write(self, event: Event) -> None:
        """Call those that want it; one that raises does not keep it from the others."""
        errors = []
        for kind, call in list(self.calls):
            if kind == event.kind:
                try:
                    call(event.record)
                except Exception as error:  # noqa: BLE001 - a user's function may raise anything
                    errors.append(error)
        if errors:
            raise errors[0]

    def close(self) -> None:
        """Do nothing."""


class Recorder:
    """Receives the events of a network, and what its gates and sentinels say of themselves every so often.

    Args:
        engine: of the network.
        conductor: of the network.
        sinks: get the events.
        after: number of the last event before the first that is wanted.
    """

    def __init__(self, engine: Engine, conductor: Ref, sinks: Sequence[Sink] = (), *, after: int = 0) -> None:
        self._seen = after
        self._missed = -1  # the event after which some were lost
        self._engine, self._conductor = engine, conductor
        self._began = engine.now()
        self._hooks = Hooks()
        self._wall = time.time() - time.monotonic()
        self._up_to_date = False
        self._tracing: Tracing | None = None
        self._gates: set[str] = set()
        self._awaited: set[str] = set()  # gates that are to speak once more, with what was traced at last
        self._channels = [Channel(sink) for sink in sinks]
        self._inbox = engine.inbox("recorder", self._take)
        conductor.ask(Record(self._inbox.ref, SAMPLE_EVERY), timeout=CONSENT)

    def on(self, kind: str, call: Callable[[Any], object]) -> None:
        """Call a function with the record of each event of a kind from now on.

        Raises:
            WiringError: there are no events of that kind; lists the kinds.
        """
        if kind not in ALL_KINDS:
            raise WiringError(f"there are no events of kind {kind!r}; there are: {', '.join(sorted(ALL_KINDS))}")
        if not self._hooks.calls:
            self.add(self._hooks)
        self._hooks.calls.append((kind, call))

    def add(self, sink: Sink) -> None:
        """Hand all events to one more sink from now on."""
        self._channels = [*self._channels, Channel(sink)]

    def trace(self, batches: int) -> None:
        """Trace the next batches, until so many are complete."""
        self._tracing = Tracing(batches)
        self._conductor.tell(Record(self._inbox.ref, SAMPLE_EVERY, trace=True))

    def _traced(self, message: Slices) -> Slices:
        """Return slices by the clock of this recording, and trace no more once there are enough."""
        if self._tracing is not None and self._tracing.has_enough(message):
            self._tracing = None
            self._conductor.tell(Record(self._inbox.ref, SAMPLE_EVERY))
        virtual = isinstance(self._engine, Stepped)  # all actors share that clock; those of machines differ
        shift = -self._began if virtual else message.wall - self._wall - self._began
        return replace(message, rows=tuple(each.shifted(shift) for each in message.rows), wall=0.0)

    def close(self) -> None:
        """Take what the network has sent so far, and let all sinks finish."""
        with suppress(AkkordeonError):
            self._up_to_date = False
            if self._tracing is not None:
                self._awaited = set(self._gates)
                self._conductor.tell(Record(self._inbox.ref, SAMPLE_EVERY))
            self._conductor.tell(Subscribe(self._inbox.ref, 0))
            wait_until(self._engine, self._has_all, seconds=PATIENCE, pause=0.01)
        self._inbox.close()
        deadline = time.monotonic() + PATIENCE
        for channel in self._channels:
            channel.close(deadline)

    def _has_all(self) -> bool:
        return self._up_to_date and not self._awaited

    def _take(self, message: object) -> None:
        match message:
            case GateStatus() | SentinelStatus():
                self._awaited.discard(message.name)
                if isinstance(message, GateStatus):
                    self._gates.add(message.name)
                self._hand_out(message)
            case Slices():
                self._hand_out(self._traced(message))
            case Notice(0):
                self._up_to_date = True
            case Notice(number, record) if number > self._seen:
                if number > self._seen + 1 and self._missed != self._seen:
                    # Some were lost on their way. All are asked for, since those that a watcher is said to have
                    # received lose their outputs.
                    self._missed = self._seen
                    self._conductor.tell(Subscribe(self._inbox.ref, 0))
                    return
                self._seen = number
                if isinstance(record, Report):
                    record = replace(record, outputs=())
                self._hand_out(record)

    def _hand_out(self, record: object) -> None:
        event = Event(self._engine.now() - self._began, record)  # by this clock alone: other machines have others
        for channel in self._channels:
            channel.put(event)
