"""Makes a trace for Perfetto of a run: a track per gate and worker, and flows that join what was done of a batch.

Only batches that were traced whole are in it: through all gates, and back. See https://perfetto.dev/docs, "Synthetic
TrackEvent", for the format.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from akkordeon.errors import RunUnreadable, WiringError
from akkordeon.views.reading import Plain

SEQUENCE = 1
"""Of all packets: one writer made them."""


class Traced(NamedTuple):
    """Something that was computed of a batch: times in nanoseconds."""

    began: int
    over: int
    what: str
    actor: str
    worker: str
    batch: tuple[str, int, int]
    attempt: int


def traced(events: Iterable[Plain]) -> list[Traced]:
    """Return what was computed of the batches that were traced whole, in order of time."""
    found: defaultdict[tuple[str, int, int], list[Traced]] = defaultdict(list)
    gates = set()
    for event in events:
        if event["event"] != "trace":
            continue
        if event["role"] == "gate":
            gates.add(event["name"])
        for what, sentinel, incarnation, seq, attempt, began, over, worker in event["rows"]:
            batch, times = (sentinel, incarnation, seq), (round(began * 1e9), round(over * 1e9))
            found[batch].append(Traced(*times, what, event["name"], worker, batch, attempt))
    whole = [rows for rows in found.values() if _is_whole(rows, gates)]
    return sorted(row for rows in whole for row in rows)


def make_trace(events: Iterable[Plain]) -> bytes:
    """Return a trace, as `ui.perfetto.dev` opens it.

    Raises:
        RunUnreadable: no batch was traced.
        WiringError: the package `perfetto` is not installed.
    """
    try:
        from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent  # noqa: PLC0415 - an extra
    except ImportError:
        raise WiringError("traces need perfetto; install it: pip install 'akkordeon[trace]'") from None
    known = list(events)
    rows = traced(known)
    if not rows:
        raise RunUnreadable("no batch was traced; train with --trace N, or call network.trace(N)")
    trace, tracks = Trace(), Tracks()
    ends = {row.batch: row for row in rows}
    for row, lane in zip(rows, tracks.lanes(rows), strict=True):
        track = tracks.of(trace, row.actor, f"{row.worker} {lane}" if lane else row.worker)
        flow = _flow(row)
        for time, kind in ((row.began, TrackEvent.TYPE_SLICE_BEGIN), (row.over, TrackEvent.TYPE_SLICE_END)):
            packet = trace.packet.add(timestamp=time, trusted_packet_sequence_id=SEQUENCE)
            packet.track_event.type, packet.track_event.track_uuid = kind, track
            if kind == TrackEvent.TYPE_SLICE_BEGIN:
                packet.track_event.name = f"{row.what} {row.batch[2]}"
                last = ends[row.batch] is row
                (packet.track_event.terminating_flow_ids if last else packet.track_event.flow_ids).append(flow)
    _add_counters(trace, tracks, known)
    return bytes(trace.SerializeToString(deterministic=True))


class Tracks:
    """The tracks of a trace: one per actor, and below it one per worker."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}

    def of(self, trace: Any, actor: str, name: str, *, counter: bool = False) -> int:
        """Return the number of a track; the first time, describe it."""
        if (number := self._known.get((actor, name))) is not None:
            return number
        parent = 0 if not name else self.of(trace, actor, "")
        number = self._known[actor, name] = len(self._known) + 1
        packet = trace.packet.add(trusted_packet_sequence_id=SEQUENCE)
        packet.track_descriptor.uuid, packet.track_descriptor.name = number, name or actor
        if parent:
            packet.track_descriptor.parent_uuid = parent
        if counter:
            packet.track_descriptor.counter.SetInParent()
        return number

    def lanes(self, rows: Iterable[Traced]) -> list[int]:
        """Return for each row the first lane of its track in which it overlaps with none before it."""
        free: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        found = []
        for row in rows:
            lanes = free[row.actor, row.worker]
            lane = next((n for n, over in enumerate(lanes) if over <= row.began), len(lanes))
            lanes[lane : lane + 1] = [row.over]
            found.append(lane)
        return found


def _is_whole(rows: list[Traced], gates: set[str]) -> bool:
    parts = {(row.actor, row.what) for row in rows}
    ways = ("forward", "backward")
    return any(row.what == "loss" for row in rows) and all((gate, way) in parts for gate in gates for way in ways)


def _flow(row: Traced) -> int:
    """Return a number for a batch that no other has: flows are told apart by 64 bits."""
    _, incarnation, seq = row.batch
    return ((incarnation & 0xFFFF) << 48) | ((seq + 1) << 8) | (row.attempt & 0xFF)


def _add_counters(trace: Any, tracks: Tracks, events: Iterable[Plain]) -> None:
    for event in events:
        if event["event"] == "gate":
            for name, value in (("queue", event.get("waiting") or 0), ("staleness", event["staleness"]["mean"])):
                track = tracks.of(trace, event["name"], name, counter=True)
                time = round(event["t"] * 1e9)
                packet = trace.packet.add(timestamp=time, trusted_packet_sequence_id=SEQUENCE)
                packet.track_event.type, packet.track_event.track_uuid = 4, track
                packet.track_event.double_counter_value = float(value)
