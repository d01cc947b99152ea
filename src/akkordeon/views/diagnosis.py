"""Says in words what is wrong with a network, and what a gate does: from how it stood some seconds ago, and stands now.

Each rule names a gate, a sentinel or a process, says what is wrong with it, and gives the figures that show it.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

COMPARED = 5.0
"""Seconds between the two looks that are compared: long enough that shares of time are steady."""

COMPUTING = ("forward", "backward", "update", "evaluation")

BUSY, OTHERS = 0.75, 0.5
"""A gate is the bottleneck if it computes for that share of the time, and all others for half of that share at most."""

STALE, TIMES = 4, 2
"""Staleness is a burst if its p95 is at least so many updates, and so many times what it was before."""

HUNGRY = 0.5
"""Share of the time without a batch ready from which on a loader is the bottleneck."""

LOCKED = 0.2
"""Share of the time that a gate waits for the random lock from which on that is worth to be said."""

GROWTH = 50e6
"""Bytes by which the memory of a process grows within `COMPARED` before that is a leak: beginnings take less."""

Line = Mapping[str, Any]
"""An event "gate" or "sentinel", in plain values."""


@dataclass(frozen=True)
class Moment:
    """How a network stands.

    Args:
        t: seconds since recording began.
        gates: the latest event "gate" of each, by name.
        sentinels: likewise.
        events: what else has happened since the look before.
    """

    t: float
    gates: Mapping[str, Line]
    sentinels: Mapping[str, Line]
    events: tuple[Line, ...] = field(default=())


class Moments:
    """The moments of the last `COMPARED` seconds."""

    def __init__(self) -> None:
        self._past: deque[Moment] = deque()

    def add(self, moment: Moment) -> None:
        """Remember a moment, and forget those that are too old."""
        self._past.append(moment)
        while len(self._past) > 1 and self._past[1].t <= moment.t - COMPARED:
            self._past.popleft()

    def before(self, now: Moment) -> Moment:
        """Return the moment that `now` is to be compared with: itself where there was none."""
        return self._past[0] if self._past else now


def shares(before: Line | None, now: Line) -> dict[str, float]:
    """Return the shares of the time of a gate, by what it was spent on; empty where that is not known."""
    old = {} if before is None else before.get("spent") or {}
    spent = {what: seconds - old.get(what, 0.0) for what, seconds in (now.get("spent") or {}).items()}
    total = sum(spent.values())
    return {what: max(0.0, seconds) / total for what, seconds in spent.items()} if total > 0 else {}


def computing(share: Mapping[str, float]) -> float:
    """Return the share of the time in which a gate computed."""
    return sum(share.get(what, 0.0) for what in COMPUTING)


def state(name: str, before: Moment, now: Moment) -> str:
    """Return what a gate does, in a word or two."""
    old, line = before.gates.get(name), now.gates[name]
    if any(event["event"] == "restart" and event.get("gate") == name for event in now.events):
        return "restarted"
    if old is not None and _lifetime(line) < _lifetime(old):
        return "restarted"
    share = shares(old, line)
    if not share:
        return "waiting"
    if old is not None and line["version"] == old["version"] and line["open"] and now.t - before.t >= COMPARED:
        return "stuck" if computing(share) < 0.1 else "computing"
    most = max(share, key=lambda what: share[what])
    if computing(share) >= 0.5 or most in COMPUTING:
        return "computing"
    return {"ready": "no free worker", "lock": "waiting for lock"}.get(most, "starved")


def words(before: Moment, now: Moment) -> list[str]:
    """Return a sentence for each thing that is wrong; none for a network that is well."""
    found = [*_ended(now), *_died(before, now)]
    if now.t - before.t >= COMPARED / 2:
        found += [*_slow(before, now), *_stale(before, now), *_locked(before, now)]
        found += [*_hungry(before, now), *_lost(before, now), *_leaking(before, now)]
    return found


def _ended(now: Moment) -> Iterator[str]:
    for event in now.events:
        ago = f"{max(0.0, now.t - event['t']):.0f} s ago"
        match event["event"]:
            case "restart":
                yield f"gate {event['gate']!r} died and was restarted {ago}: {event['text']}"
            case "alarm":
                yield f"alarm {ago}: {event['text']}"
            case "failure":
                who = "the network" if event.get("sentinel") is None else f"sentinel {event['sentinel']!r}"
                yield f"{who} has failed {ago}: {event['error']}"


def _died(before: Moment, now: Moment) -> Iterator[str]:
    told = {event.get("gate") for event in now.events if event["event"] == "restart"}
    for name, line in now.gates.items():
        old = before.gates.get(name)
        if name not in told and old is not None and _lifetime(line) < _lifetime(old):
            yield f"gate {name!r} died and was restarted within {now.t - before.t:.0f} s, at version {line['version']}"


def _lifetime(line: Line) -> float:
    return float(sum((line.get("spent") or {}).values()))


def _slow(before: Moment, now: Moment) -> Iterator[str]:
    busy = {name: computing(shares(before.gates.get(name), line)) for name, line in now.gates.items()}
    if len(busy) < 2:
        return
    *_, second, first = sorted(busy, key=lambda name: busy[name])
    if busy[first] >= BUSY and busy[second] <= OTHERS * busy[first]:
        waiting = now.gates[first].get("waiting", 0)
        queue = "1 message waits" if waiting == 1 else f"{waiting} messages wait"
        yield (
            f"gate {first!r} is the bottleneck: it computes {busy[first]:.0%} of the time, all others at most "
            f"{busy[second]:.0%}; {queue} for it"
        )


def _stale(before: Moment, now: Moment) -> Iterator[str]:
    for name, line in now.gates.items():
        past = _counts(before.gates.get(name))
        recent = {value: times - past.get(value, 0) for value, times in _counts(line).items()}
        old, new = _p95(past), _p95(recent)
        if past and new >= STALE and new >= TIMES * max(1, old):
            yield (
                f"the gradients of gate {name!r} are stale: p95 is {new} updates in the last {now.t - before.t:.0f} s, "
                f"{old} before"
            )


def _locked(before: Moment, now: Moment) -> Iterator[str]:
    for name, line in now.gates.items():
        if (share := shares(before.gates.get(name), line).get("lock", 0.0)) >= LOCKED:
            yield f"gate {name!r} waits for the random lock {share:.0%} of the time: other gates draw numbers, too"


def _hungry(before: Moment, now: Moment) -> Iterator[str]:
    for name, line in now.sentinels.items():
        old = before.sentinels.get(name) or {}
        share = (line.get("waiting_for_data", 0.0) - old.get("waiting_for_data", 0.0)) / (now.t - before.t)
        if share >= HUNGRY:
            yield (
                f"the loader of sentinel {name!r} starves the network: it had no batch ready "
                f"{min(1.0, share):.0%} of the time"
            )


def _lost(before: Moment, now: Moment) -> Iterator[str]:
    for name, line in now.sentinels.items():
        old = before.sentinels.get(name)
        if old is None:
            continue
        if line["in_flight"] and line["done"] == old["done"] and line["epoch"] == old["epoch"] and old["in_flight"]:
            ago = f"for {now.t - before.t:.0f} s"
            yield f"none of the {line['in_flight']} batches of sentinel {name!r} has come back {ago}"
        if (more := line.get("resent", 0) - old.get("resent", 0)) > 0:
            yield f"sentinel {name!r} has sent {more} batches again in the last {now.t - before.t:.0f} s"


def _leaking(before: Moment, now: Moment) -> Iterator[str]:
    told = set()
    for kind in ("sentinels", "gates"):
        for name, line in getattr(now, kind).items():
            old = (getattr(before, kind).get(name) or {}).get("process")
            new = line.get("process")
            if not old or not new or (key := (new["host"], new["pid"])) in told or old["pid"] != new["pid"]:
                continue
            if new["memory"] - old["memory"] >= GROWTH:
                told.add(key)
                rate = (new["memory"] - old["memory"]) / (now.t - before.t)
                yield (
                    f"the process of {kind.removesuffix('s')} {name!r} ({new['host']}, {new['pid']}) leaks memory: it "
                    f"grows by {rate / 1e6:.0f} MB per second"
                )


def _counts(line: Line | None) -> dict[int, int]:
    counts = {} if line is None else line["staleness"].get("counts") or {}
    return {int(value): times for value, times in counts.items()}


def _p95(counts: Mapping[int, int]) -> int:
    left = 0.95 * sum(counts.values())
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0:
            return value
    return 0
