"""Records that users read: reports of epochs, events, and the status of a network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from akkordeon.actor import Ref, Urgent
from akkordeon.messages.advice import advice
from akkordeon.messages.histogram import Histogram
from akkordeon.messages.process import ProcessStatus
from akkordeon.messages.states import GateStatus
from akkordeon.messages.tree import Tree

Kind = Literal["train", "validate", "test"]


@dataclass(frozen=True, slots=True)
class Report:
    """One epoch of one sentinel.

    Args:
        sentinel: whose.
        kind: what the sentinel does.
        epoch: number, from 1.
        samples: how many went into the figures.
        loss: mean over samples; NaN where there is no loss.
        metrics: by name: means over samples, or what gauges compute of the whole epoch.
        seconds: from the epoch's first batch sent to its last one done.
        staleness: of the epoch's updates, by gate, in the order of the chain; as text the mean, and in brackets p50,
            p95 and the largest.
        skipped: batches, or updates at a gate, that did not count, by reason.
        complete: False where the sentinel left in the middle of the epoch.
        outputs: of a test sentinel, one per batch, in the order of the data; only the first watcher that gets
            the report has them.
    """

    sentinel: str
    kind: Kind
    epoch: int
    samples: int
    loss: float
    metrics: Mapping[str, float]
    seconds: float
    staleness: Mapping[str, Histogram] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    complete: bool = True
    outputs: tuple[Tree, ...] = field(default=(), repr=False)

    @property
    def samples_per_second(self) -> float:
        """Throughput of the epoch."""
        return self.samples / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        parts = [f"{self.sentinel:<11} epoch {self.epoch:4d}", f"loss {self.loss:.4f}"]
        parts += [f"{name} {value:.4f}" for name, value in self.metrics.items()]
        parts.append(f" {self.seconds:.2f} s")
        if self.kind == "train":
            parts.append(f"{self.samples_per_second:.0f} samples/s")
        if self.staleness:
            parts.append("staleness " + " ".join(f"{gate} {late}" for gate, late in self.staleness.items()))
        if self.skipped:
            parts.append("skipped " + ", ".join(f"{count} {reason}" for reason, count in self.skipped.items()))
        if not self.complete:
            parts.append("(incomplete)")
        return "  ".join(parts)


@dataclass(frozen=True, slots=True)
class Failure:
    """A sentinel, or the whole network, has failed.

    Args:
        error: why.
        sentinel: which; None for the whole network.
    """

    error: Exception
    sentinel: str | None = None


@dataclass(frozen=True, slots=True)
class Departure:
    """A sentinel has ended or left.

    Args:
        sentinel: which.
        had_end: whether it would have ended by itself.
    """

    sentinel: str
    had_end: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """A warning to users; the network goes on.

    Args:
        text: which gate has ended, and why; or that nothing moves, and which actor waits for what.
        gate: that has ended and is restarted; None where the alarm is about none.
    """

    text: str
    gate: str | None = None


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A sentinel with `in_flight="auto"` has found another window.

    Args:
        sentinel: which.
        before: batches in flight until now.
        window: batches in flight from now on.
        reason: why, for a person to read.
    """

    sentinel: str
    before: int
    window: int
    reason: str

    def __str__(self) -> str:
        return f"{self.sentinel}: in_flight {self.before} -> {self.window} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Joined:
    """A sentinel was attached."""

    sentinel: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Changed:
    """Settings of a gate or a sentinel were changed."""

    name: str
    settings: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class SavedTo:
    """The network was saved to a path."""

    path: str


@dataclass(frozen=True, slots=True)
class Closing:
    """A user asked for the network to be closed."""


News = Report | Failure | Departure | Alarm | Adjustment | Joined | Changed | SavedTo | Closing | None


@dataclass(frozen=True, slots=True)
class Notice:
    """From the conductor, to a watcher: an event, and how many sentinels are attached after it.

    Args:
        number: of the event, from 1; 0 and no event where it only says how many are attached.
        event: what happened.
        attached: number of attached sentinels.
        ending: how many of these will end by themselves.
        seconds: when, since the network began.
    """

    number: int
    event: News
    attached: int
    ending: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class SentinelStatus:
    """The progress of a sentinel.

    Args:
        name: of the sentinel.
        kind: what it does.
        epoch: the latest it has begun; 0 before the first.
        in_flight: batches it has out.
        done: batches that came back, over all epochs.
        draining: whether it is about to leave.
        epochs: the epoch after which it ends; None if there is no such.
        batches: of the latest epoch, that came back.
        length: batches in an epoch; None where the loader does not tell.
        samples: of the latest epoch, that came back.
        seconds: since the latest epoch began.
        loss: mean over these samples; NaN before the first.
        window: how many batches it may have out now.
        resent: batches that were sent again.
        dropped: the last batches that were given up, and why.
        skipped: batches, or updates at a gate, that did not count, by reason; over all epochs.
        reason: why the window is what it is, where the sentinel has found that out (`in_flight="auto"`).
        losses: of the latest training batches that came back since the status before, while somebody records: number of
            the batch, over all epochs, and its loss.
        samples_done: that came back, over all epochs.
        waiting_for_data: seconds in which it might have sent a batch, and its loader had none ready.
        process: where it lives.
    """

    name: str
    kind: Kind
    epoch: int
    in_flight: int
    done: int
    draining: bool
    epochs: int | None = None
    batches: int = 0
    length: int | None = None
    samples: int = 0
    seconds: float = 0.0
    loss: float = float("nan")
    window: int = 0
    resent: int = 0
    dropped: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    losses: tuple[tuple[int, float], ...] = ()
    samples_done: int = 0
    waiting_for_data: float = 0.0
    process: ProcessStatus | None = None


@dataclass(frozen=True, slots=True)
class Observe(Urgent):
    """From the conductor, to gates and sentinels, while somebody records: tell the reader your status.

    Args:
        reader: gets it.
        trace: keep what you compute of each batch, and tell that, too, the next time.
    """

    reader: Ref
    trace: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """The progress of a network.

    Args:
        state: "open", or "failed".
        cause: of the failure.
        gates: in the order of the chain; those that have ended are missing.
        sentinels: in the order they were attached.
        restarts: of gates, so far.
    """

    state: Literal["open", "failed"]
    cause: Exception | None
    gates: tuple[GateStatus, ...]
    sentinels: tuple[SentinelStatus, ...]
    restarts: int = 0

    @property
    def advice(self) -> str:
        """Which gates to merge because they compute too little, in one line; empty where there are none."""
        return advice(self.gates)
