"""What of a network's events somebody wants to see, and when there is nothing more to see."""

import logging

from akkordeon.messages.reports import Adjustment, Alarm, Closing, Departure, Failure, Notice, Report

logger = logging.getLogger(__name__)


class View:
    """What of the events somebody wants to see.

    Args:
        sentinel: the only one that is of interest; None for all.
        forever: who is attached does not matter.

    Attributes:
        over: whether there is nothing more to see.
    """

    def __init__(self, sentinel: str | None, *, forever: bool) -> None:
        self.over = False
        self._sentinel = sentinel
        self._forever = forever or sentinel is not None
        self._up_to_date = self._ended_some = False

    def take(self, notice: Notice) -> Report | None:
        """Take in what happened; return it if it is a report.

        Raises:
            AkkordeonError: what has failed.
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
        self._up_to_date = self._up_to_date or notice.number == 0  # what came before tells who was attached then
        if not self._forever and self._up_to_date and not notice.ending:
            self.over = self.over or self._ended_some or not notice.attached
        return event if isinstance(event, Report) and self._wants(event.sentinel) else None

    def _wants(self, sentinel: str) -> bool:
        return self._sentinel in (None, sentinel)
