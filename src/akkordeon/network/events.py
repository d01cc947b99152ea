"""Describes what happens in a network, as sinks, hooks and the run folder get it."""

from dataclasses import dataclass
from typing import Any

from akkordeon.messages.plain import fields_of, plain
from akkordeon.messages.reports import (
    Adjustment,
    Alarm,
    Changed,
    Closing,
    Departure,
    Failure,
    Joined,
    Report,
    SavedTo,
    SentinelStatus,
)
from akkordeon.messages.slices import Slices
from akkordeon.messages.states import GateStatus

NAMES_OF_KINDS: dict[type, str] = {
    Report: "report",
    GateStatus: "gate",
    SentinelStatus: "sentinel",
    Joined: "attach",
    Departure: "detach",
    Adjustment: "window",
    Changed: "set",
    SavedTo: "save",
    Alarm: "alarm",
    Failure: "failure",
    Closing: "close",
    Slices: "trace",
}
"""What the kind of an event is called; an alarm about a gate that is restarted is a "restart"."""

ALL_KINDS = (*NAMES_OF_KINDS.values(), "restart")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a network.

    Args:
        seconds: when it became known, since recording began; virtual in the simulation.
        record: what: a `Report`, a `GateStatus` or `SentinelStatus` (one of each per interval), and others.
    """

    seconds: float
    record: Any

    @property
    def kind(self) -> str:
        """What it is called: one of `ALL_KINDS`."""
        is_restart = isinstance(self.record, Alarm) and self.record.gate is not None
        return "restart" if is_restart else NAMES_OF_KINDS[type(self.record)]

    def plain(self) -> dict[str, Any]:
        """Return it as values of JSON: "t" are the seconds, "event" is the kind."""
        return {"t": round(self.seconds, 3), "event": self.kind, **plain(fields_of(self.record))}
