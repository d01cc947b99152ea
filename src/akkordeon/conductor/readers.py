"""Lets gates and sentinels tell those who record a network how they stand, every so often."""

from collections.abc import Iterable
from dataclasses import dataclass

from akkordeon.actor import Context, Ref
from akkordeon.conductor.requests import Record
from akkordeon.messages.reports import Observe


@dataclass(frozen=True, slots=True)
class LookAround:
    """From the conductor, to itself: it is time for the next samples of a reader."""

    record: Record


class Readers:
    """Those who record a network."""

    def __init__(self) -> None:
        self._readers: set[Ref] = set()

    def add(self, record: Record, context: Context) -> None:
        """Begin to send samples to a reader, until it ends."""
        if record.reader not in self._readers:  # else the request came twice
            self._readers.add(record.reader)
            context.watch(record.reader, context.me)
            context.tell_later(0.0, LookAround(record))

    def look(self, message: LookAround, actors: Iterable[Ref], context: Context) -> None:
        """Let actors tell a reader how they stand, now and again in a while."""
        reader = message.record.reader
        if reader in self._readers:
            context.tell_later(message.record.every, message)
            for actor in actors:
                actor.tell(Observe(reader))

    def forget(self, reader: Ref) -> None:
        """Send one that has ended nothing more."""
        self._readers.discard(reader)
