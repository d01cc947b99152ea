"""Publishes everything that users get to see, as a numbered log of events."""

import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from akkordeon.actor import Ref
from akkordeon.conductor.requests import Subscribe, Unsubscribe
from akkordeon.messages.reports import Failure, News, Notice, Report

EVENTS_KEPT = 10_000
"""The latest events, for watchers that come late."""


class EventLog:
    """The events of a network, and its watchers.

    Args:
        present: returns how many sentinels are attached now, and how many of these will end by themselves.

    Attributes:
        now: seconds since the network began.
        count: number of the latest event.
    """

    def __init__(self, present: Callable[[], tuple[int, int]]) -> None:
        self.now = 0.0
        self._began: float | None = None
        self._present = present
        self._events: deque[Notice] = deque(maxlen=EVENTS_KEPT)
        self.count = 0
        self._watchers: list[Ref] = []

    def at(self, now: float) -> None:
        """Note the time on the conductor's clock."""
        self._began = now if self._began is None else self._began
        self.now = now - self._began

    def subscribe(self, message: Subscribe) -> None:
        """Send a watcher what it missed, and everything from now on; a repeated request starts over."""
        self.unsubscribe(Unsubscribe(message.watcher, message.after))
        for notice in self._events:
            if notice.number > message.after:
                message.watcher.tell(notice)
        message.watcher.tell(Notice(0, None, *self._present(), self.now))
        self._watchers.append(message.watcher)

    def unsubscribe(self, message: Unsubscribe) -> None:
        """Send a watcher nothing more; let go of the tensors in what it has received."""
        self._watchers = [each for each in self._watchers if each != message.watcher]
        for index, notice in enumerate(self._events):
            if notice.number <= message.after and isinstance(notice.event, Report) and notice.event.outputs:
                self._events[index] = replace(notice, event=replace(notice.event, outputs=()))
            elif isinstance(notice.event, Failure):
                _let_go(notice.event.error)

    def publish(self, event: News) -> None:
        """Send an event to all watchers."""
        self.count += 1
        if isinstance(event, Failure):
            _let_go(event.error)
        notice = Notice(self.count, event, *self._present(), self.now)
        self._events.append(notice)
        for watcher in self._watchers:
            watcher.tell(notice)


def _let_go(error: BaseException | None) -> None:
    """Clear what the frames of an error hold: a failure is kept for as long as the network, its tensors need not be.

    Those that run still cannot be cleared yet, among them what called the frame that caught the error.
    """
    while error is not None:
        if (trace := error.__traceback__) is not None:
            for frame, _ in (*traceback.walk_stack(trace.tb_frame), *traceback.walk_tb(trace)):
                with suppress(RuntimeError):
                    frame.clear()
        error = error.__cause__ or error.__context__
