"""Everything that users get to see, as a numbered stream of events.

A watcher that comes late misses nothing of the last `MEMORY` events.
"""

from collections import deque
from collections.abc import Callable

from akkordeon.actor import Ref
from akkordeon.conductor.requests import Subscribe, Unsubscribe
from akkordeon.messages.reports import Event, Notice

MEMORY = 10_000
"""Events kept for watchers that come late."""


class Stream:
    """Tells watchers what happens.

    Args:
        present: says how many sentinels are attached now, and how many of these will end by themselves.
    """

    def __init__(self, present: Callable[[], tuple[int, int]]) -> None:
        self._present = present
        self._events: deque[Notice] = deque(maxlen=MEMORY)
        self.count = 0
        self._watchers: list[Ref] = []

    def subscribe(self, message: Subscribe) -> None:
        """Tell a watcher what it missed, and from now on everything; asked again, it begins again."""
        self.unsubscribe(Unsubscribe(message.watcher))
        for notice in self._events:
            if notice.number > message.after:
                message.watcher.tell(notice)
        message.watcher.tell(Notice(0, None, *self._present()))
        self._watchers.append(message.watcher)

    def unsubscribe(self, message: Unsubscribe) -> None:
        """Tell a watcher nothing more."""
        self._watchers = [each for each in self._watchers if each != message.watcher]

    def publish(self, event: Event) -> None:
        """Tell all watchers of an event."""
        self.count += 1
        notice = Notice(self.count, event, *self._present())
        self._events.append(notice)
        for watcher in self._watchers:
            watcher.tell(notice)
