"""Turns the events of a network into the reports, errors and log lines of one watcher."""

import logging
from collections.abc import Callable, Iterator

from akkordeon.actor import Ended, Inbox, Ref
from akkordeon.conductor.event_log import EVENTS_KEPT
from akkordeon.conductor.requests import Subscribe, Unsubscribe
from akkordeon.errors import ActorFailed, NoAnswer
from akkordeon.messages.reports import Adjustment, Alarm, Closing, Departure, Failure, Notice, Report

logger = logging.getLogger(__name__)

CHECK_AFTER = 5.0
"""Seconds without news after which a watcher checks that the conductor still answers."""


class EventStream:
    """The events of a network, each once and in order, over all calls of `reports`.

    Args:
        conductor: sends the events.
        check: raises if the conductor does not answer.
        seen: number of the last event before the first that is wanted.

    Attributes:
        is_closing: whether a user has asked for the network to be closed, as far as the stream was read.
    """

    def __init__(self, conductor: Ref, check: Callable[[], None], seen: int) -> None:
        self.is_closing = False
        self._conductor = conductor
        self._check = check
        self._seen = seen
        self._missed = -1  # the latest event after which some were lost

    def reports(self, inbox: Inbox, sentinel: str | None, *, forever: bool) -> Iterator[Report]:
        """Yield the reports of a sentinel, None for all, until there will be no more; with `forever`, until closing.

        Raises:
            AkkordeonError: the sentinel or the network has failed.
        """
        selection = Selection(sentinel, forever=forever)
        self._conductor.tell(Subscribe(inbox.ref, self._seen))
        try:
            while not selection.over:
                notice = self._next_notice(inbox)
                if notice.number and not self._is_next(notice.number, inbox):
                    continue
                self._seen = max(self._seen, notice.number)
                self.is_closing = self.is_closing or isinstance(notice.event, Closing)
                if (report := selection.take(notice)) is not None:
                    if report.outputs:
                        self._conductor.tell(Subscribe(inbox.ref, self._seen))  # it need not keep them any more
                    yield report
        finally:
            self._conductor.tell(Unsubscribe(inbox.ref, self._seen))

    def _next_notice(self, inbox: Inbox) -> Notice:
        while True:
            try:
                message = inbox.take(timeout=CHECK_AFTER)
            except NoAnswer:
                self._check()
                self._conductor.tell(Subscribe(inbox.ref, self._seen))  # again: the news may have been lost
                continue
            if isinstance(message, Notice):
                return message
            if isinstance(message, Ended):
                raise ActorFailed(f"the conductor has ended: {message.reason!r}") from message.reason

    def _is_next(self, number: int, inbox: Inbox) -> bool:
        """Whether an event is news; where some before it were lost, ask for all of them, once."""
        if number > self._seen + 1 and self._missed != self._seen:
            self._missed = self._seen
            self._conductor.tell(Subscribe(inbox.ref, self._seen))
            return False
        if (missed := number - self._seen - 1) > 0:
            logger.warning("%d events were missed: only the latest %d are kept", missed, EVENTS_KEPT)
        return number > self._seen


class Selection:
    """The events that one watcher wants.

    Args:
        sentinel: the only one of interest; None for all.
        forever: do not end when no sentinel is attached.

    Attributes:
        over: whether there will be no more.
    """

    def __init__(self, sentinel: str | None, *, forever: bool) -> None:
        self.over = False
        self._sentinel = sentinel
        self._forever = forever or sentinel is not None
        self._up_to_date = self._ended_some = False

    def take(self, notice: Notice) -> Report | None:
        """Take in an event; return it if it is a wanted report.

        Raises:
            AkkordeonError: the sentinel or the network has failed.
        """
        event = notice.event
        match event:
            case Failure(error) if event.sentinel is None or self._wants(event.sentinel):
                raise error
            case Alarm(text) if self._sentinel is None:
                logger.warning("%s", text)
            case Adjustment() if self._wants(event.sentinel):
                logger.info("%s", event, extra={"adjustment": event})
            case Departure(name, had_end):
                self._ended_some = self._ended_some or had_end
                self.over = name == self._sentinel
            case Closing():
                self.over = True
        # Events before number 0 come from memory, and carry how many were attached then, not now.
        self._up_to_date = self._up_to_date or notice.number == 0
        if not self._forever and self._up_to_date and not notice.ending:
            self.over = self.over or self._ended_some or not notice.attached
        return event if isinstance(event, Report) and self._wants(event.sentinel) else None

    def _wants(self, sentinel: str) -> bool:
        return self._sentinel in (None, sentinel)
