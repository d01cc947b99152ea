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
        self._records: dict[Ref, Record] = {}

    def add(self, record: Record, context: Context) -> bool:
        """Begin to send samples to a reader, until it ends; return whether it is new."""
        new = record.reader not in self._records
        self._records[record.reader] = record
        if new:
            context.watch(record.reader, context.me)
            context.tell_later(0.0, LookAround(record))
        return new

    def look(self, message: LookAround, actors: Iterable[Ref], context: Context) -> None:
        """Let actors tell a reader how they stand, now and again in a while."""
        record = self._records.get(message.record.reader)
        if record is not None:
            context.tell_later(record.every, message)
            self.tell(record, actors)

    def greet(self, actor: Ref) -> None:
        """Let one that has just begun know who records."""
        for record in self._records.values():
            self.tell(record, (actor,))

    def tell(self, record: Record, actors: Iterable[Ref]) -> None:
        """Let actors tell a reader how they stand."""
        for actor in actors:
            actor.tell(Observe(record.reader, record.trace))

    def forget(self, reader: Ref) -> None:
        """Send one that has ended nothing more."""
        self._records.pop(reader, None)
