"""Makes up events, as long runs write them."""

from typing import Any

SHARES = {
    "forward": 0.3,
    "backward": 0.3,
    "update": 0.05,
    "evaluation": 0.0,
    "lock": 0.0,
    "ready": 0.05,
    "starved": 0.3,
}


def gate(name: str, t: float, **fields: Any) -> dict[str, Any]:
    """Return an event of a gate that is well, at some time."""
    counts = {"1": round(10 * t), "2": round(20 * t), "3": round(2 * t)}
    line = {
        "t": t, "event": "gate", "name": name, "version": round(30 * t), "open": 2, "waiting": 1,
        "staleness": {"mean": 1.8, "p50": 2, "p95": 3, "max": 3, "counts": counts},
        "spent": {what: share * t for what, share in SHARES.items()},
        "in_mailbox": [0.001, 0.004], "kept_bytes": 4096, "sent": {"downstream": [10, 100], "upstream": [10, 100]},
        "gradient_norm": 0.5, "learning_rate": 0.1, "alone": "", "upstream": "",
        "process": {"host": "laptop", "pid": 7, "memory": 300_000_000, "device": "cpu", "device_memory": 0},
    }  # fmt: skip
    return line | fields


def sentinel(name: str, t: float, **fields: Any) -> dict[str, Any]:
    """Return an event of a training sentinel that is well."""
    done = round(30 * t)
    line = {
        "t": t, "event": "sentinel", "name": name, "kind": "train", "epoch": 1 + done // 100, "in_flight": 4,
        "done": done, "window": 4, "batches": done % 100, "length": 100, "samples": 64 * (done % 100),
        "samples_done": 64 * done, "seconds": 1.0, "loss": 1 / (1 + t), "resent": 0, "waiting_for_data": 0.01 * t,
        "losses": [[done, 1 / (1 + t)]], "dropped": [], "skipped": {},
        "process": {"host": "laptop", "pid": 7, "memory": 300_000_000, "device": "cpu", "device_memory": 0},
    }  # fmt: skip
    return line | fields


def run(seconds: float, gates: int, sentinels: int, every: float = 0.5) -> list[dict[str, Any]]:
    """Return the events of a whole run."""
    events: list[dict[str, Any]] = [{"t": 0.0, "event": "attach", "sentinel": "s0", "kind": "train"}]
    for number in range(int(seconds / every)):
        t = number * every
        names = [f"g{n}" for n in range(gates)]
        events += [gate(name, t, upstream=names[n - 1] if n else "") for n, name in enumerate(names)]
        events += [sentinel(f"s{n}", t) for n in range(sentinels)]
    return events
