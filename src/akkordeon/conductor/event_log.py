"""Publishes everything that users get to see, as a numbered log of events."""

from collections import deque
from collections.abc import Callable

from akkordeon.actor import Ref
from akkordeon.conductor.requests import Subscribe, Unsubscribe
from akkordeon.messages.reports import Event, Notice

EVENTS_KEPT = 10_000
"""The latest events, for watchers that come late."""


class EventLog:
    """The events of a network, and its watchers.

    Args:
        present: returns how many sentinels are attached now, and how many of these will end by themselves.
    """

    def __init__(self, present: Callable[[], tuple[int, int]]) -> None:
        self._present = present
        self._events: deque[Notice] = deque(maxlen=EVENTS_KEPT)
        self.count = 0
        self._watchers: list[Ref] = []

    def subscribe(self, message: Subscribe) -> None:
        """Send a watcher what it missed, and everything from now on; a repeated request starts over."""
        self.unsubscribe(Unsubscribe(message.watcher))
        for notice in self._events:
            if notice.number > message.after:
                message.watcher.tell(notice)
        message.watcher.tell(Notice(0, None, *self._present()))
        self._watchers.append(message.watcher)

    def unsubscribe(self, message: Unsubscribe) -> None:
        """Send a watcher nothing more."""
        self._watchers = [each for each in self._watchers if each != message.watcher]

    def publish(self, event: Event) -> None:
        """Send an event to all watchers."""
        self.count += 1
        notice = Notice(self.count, event, *self._present())
        self._events.append(notice)
        for watcher in self._watchers:
            watcher.tell(notice)
