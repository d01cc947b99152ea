"""Folds the events of a run into frames: how all gates and sentinels stood, a bounded number of times.

However long a run is, there are at most `MOST` frames. When there are more, every second one is left out, and those to
come are twice as far apart. What happens rarely, such as a restart, is never left out.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from akkordeon.views.diagnosis import COMPARED, Moment, Moments, state, words
from akkordeon.views.reading import Plain

MOST = 1200
"""Frames, and losses of batches for each sentinel."""

WIDTH = 0.5
"""Seconds between two frames, at first."""

BUCKETS = (0, 1, 2, 3, 5, 8, 13, 21)
"""Largest staleness of each bucket of the histograms; the last bucket has no bound."""

SPENT = ("forward", "backward", "update", "evaluation", "lock", "ready", "starved")

GATE = (
    *SPENT,
    *(f"stale{n}" for n in range(len(BUCKETS) + 1)),
    "stale_sum",
    "version",
    "open",
    "waiting",
    "wait_p50",
    "wait_p95",
    "kept",
    "sent",
    "gradient",
    "rate",
    "memory",
)
"""Columns of a gate."""

OF_SENTINEL = {
    **{name: name for name in ("in_flight", "window", "done", "epoch", "batches", "length", "loss", "resent")},
    "samples": "samples_done",
    "hungry": "waiting_for_data",
}
"""Columns of a sentinel, and the fields of the event that they are of; "memory" follows."""

RARE = ("attach", "detach", "set", "window", "save", "restart", "alarm", "failure", "close", "report")


class Frames:
    """The frames of a run. Any thread may add events, and any may read.

    Attributes:
        count: of events so far; a reader sees by it whether there are new ones.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._gates: dict[str, Plain] = {}
        self._sentinels: dict[str, Plain] = {}
        self._kinds: dict[str, str] = {}
        self._places: dict[str, Any] = {}
        self._past = Moments()
        self._rare: deque[Plain] = deque()  # of the last ten seconds
        self._frames: list[dict[str, Any]] = []
        self._losses: dict[str, list[list[float]]] = {}
        self._ticks: list[list[Any]] = []
        self._reports: list[Plain] = []
        self._t, self._due, self._width = 0.0, 0.0, WIDTH

    def add(self, events: Iterable[Plain]) -> None:
        """Take in events, in the order in which they happened."""
        with self._lock:
            for event in events:
                self._take(event)

    def all(self) -> dict[str, Any]:
        """Return everything as values of JSON; see `page/store.js` for what reads it."""
        with self._lock:
            now = self._frame() if self._gates or self._sentinels else None
            return {
                "gate": GATE,
                "sentinel": (*OF_SENTINEL, "memory"),
                "buckets": BUCKETS,
                "gates": in_order(self._gates),
                "sentinels": self._kinds,
                "frames": [*self._frames, *([now] if now else [])],
                "losses": self._losses,
                "ticks": self._ticks,
                "reports": self._reports,
                "places": self._places,
                "alone": {name: line["alone"] for name, line in self._gates.items() if line.get("alone")},
                "mark": self._mark(),
            }

    def since(self, mark: list[int]) -> dict[str, Any]:
        """Return how everything stands now, and what has come since `mark`, as `all` and this returned it."""
        with self._lock:
            count, ticks, reports = (*mark, 0, 0, 0)[:3]
            return {
                "frame": self._frame() if self._gates or self._sentinels else None,
                "gates": in_order(self._gates),
                "sentinels": self._kinds,
                "losses": {name: [each for each in rows if each[3] > count] for name, rows in self._losses.items()},
                "ticks": self._ticks[ticks:],
                "reports": self._reports[reports:],
                "mark": self._mark(),
            }

    def _mark(self) -> list[int]:
        return [self.count, len(self._ticks), len(self._reports)]

    def _take(self, event: Plain) -> None:
        kind, self.count = event["event"], self.count + 1
        t = max(self._t, event.get("t", 0.0))
        if t >= self._due and t > self._t and (self._gates or self._sentinels):
            self._close_frame()  # of how all stood until now
        self._t = t
        if kind == "gate":
            self._gates[event["name"]] = event
            self._places[event["name"]] = event.get("process")
        elif kind == "sentinel":
            self._sentinels[event["name"]] = event
            self._kinds[event["name"]] = event["kind"]
            self._places[event["name"]] = event.get("process")
            self._add_losses(event)
        elif kind in RARE:
            self._rare.append(event)
            if kind == "report":
                self._reports.append(event)
            else:
                self._ticks.append([event["t"], kind, _text(event)])
            if kind == "detach":
                self._sentinels.pop(event["sentinel"], None)
            elif kind == "attach":
                self._kinds[event["sentinel"]] = event["kind"]

    def _close_frame(self) -> None:
        self._frames.append(self._frame())
        if len(self._frames) > MOST:
            self._frames, self._width = self._frames[1::2], 2 * self._width
        self._due = self._t + 1.5 * self._width  # the middle between two rounds of samples
        self._past.add(Moment(self._t, dict(self._gates), dict(self._sentinels)))
        while self._rare and self._rare[0]["t"] < self._t - 2 * COMPARED:
            self._rare.popleft()

    def _frame(self) -> dict[str, Any]:
        now = Moment(self._t, self._gates, self._sentinels, tuple(self._rare))
        before = self._past.before(now)
        return {
            "t": round(self._t, 3),
            "g": {name: _of_gate(line) for name, line in self._gates.items()},
            "s": {name: _of_sentinel(line) for name, line in self._sentinels.items()},
            "states": {name: state(name, before, now) for name in self._gates},
            "words": words(before, now),
        }

    def _add_losses(self, event: Plain) -> None:
        rows = self._losses.setdefault(event["name"], [])
        per_batch = event.get("samples_done", 0) / max(1, event.get("done", 1))
        for batch, loss in event.get("losses", ()):
            if loss is not None:
                rows.append([event["t"], round(batch * per_batch), loss, self.count])
        if len(rows) > MOST:
            del rows[::2]


def in_order(gates: Mapping[str, Plain]) -> list[str]:
    """Return the names of gates in the order of the chain, as far as they know which gate is before them."""
    after = {line.get("upstream"): name for name, line in gates.items() if line.get("upstream") in gates}
    order: list[str] = []
    for first in [name for name, line in gates.items() if line.get("upstream") not in gates]:
        name: str | None = first
        while name is not None and name not in order:
            order.append(name)
            name = after.get(name)
    return order


def _of_gate(line: Mapping[str, Any]) -> list[float | None]:
    spent, counts = line.get("spent") or {}, line["staleness"].get("counts") or {}
    buckets = [0] * (len(BUCKETS) + 1)
    for value, times in counts.items():
        buckets[sum(int(value) > bound for bound in BUCKETS)] += times
    wait, sent = line.get("in_mailbox") or (None, None), line.get("sent") or {}
    return [
        *(round(spent.get(what, 0.0), 4) for what in SPENT),
        *buckets,
        sum(int(value) * times for value, times in counts.items()),
        line["version"],
        line["open"],
        line.get("waiting"),
        *wait,
        line.get("kept_bytes"),
        sum(size for _, size in sent.values()),
        line.get("gradient_norm"),
        line.get("learning_rate"),
        _memory(line),
    ]


def _of_sentinel(line: Mapping[str, Any]) -> list[float | None]:
    return [*(line.get(name) for name in OF_SENTINEL.values()), _memory(line)]


def _memory(line: Mapping[str, Any]) -> int | None:
    process = line.get("process")
    return None if process is None else process["memory"] + process["device_memory"]


def _text(event: Mapping[str, Any]) -> str:
    """Say what happened, in a line."""
    who = event.get("sentinel") or event.get("name") or "the network"
    match event["event"]:
        case "set":
            text = ", ".join(f"{key} = {value}" for key, value in event["settings"].items())
        case "window":
            text = f"{event['before']} to {event['window']} in flight, {event['reason']}"
        case "failure":
            text = f"has failed: {event['error']}"
        case "detach":
            text = "has ended" if event.get("had_end") else "has left"
        case "attach":
            text = "has joined"
        case "save":
            text = f"saved to {event['path']}"
        case _:
            return str(event.get("text", "is to be closed"))
    return f"{who}: {text}"
