"""Sums up, for each epoch of a sentinel, which batches came back and with which figures, and reports on the epoch."""

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

from akkordeon.messages.batches import ALREADY_APPLIED, NOTHING_TO_LEARN
from akkordeon.messages.histogram import Histogram
from akkordeon.messages.process import this_process
from akkordeon.messages.reports import Observe, Report, SentinelStatus
from akkordeon.messages.slices import SliceKeeper
from akkordeon.messages.states import Position
from akkordeon.messages.tree import Tree
from akkordeon.sentinel.description import Sentinel
from akkordeon.sentinel.metrics import Gauges, Mean, read
from akkordeon.tensors import copied

logger = logging.getLogger(__name__)

LOSSES = 50
"""Of how many of the latest batches the loss is kept for those who record."""


@dataclass(slots=True)
class Epoch:
    """One pass through the data, as far as it has come.

    Args:
        number: from 1.
        began: when its pass was due or its first batch sent, in seconds; None before.
        batches: how many it has; None as long as the loader has not ended.
        done: how many came back, or were given up.
        ending: whether the gates were told that it is over, which counts as one more of its batches.
        gauges: metrics that are no means.
    """

    number: int
    gauges: Gauges = field(default_factory=dict)
    began: float | None = None
    batches: int | None = None
    done: int = 0
    ending: bool = False
    samples: int = 0
    figures: defaultdict[str, Mean] = field(default_factory=lambda: defaultdict(Mean))
    staleness: defaultdict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    skipped: Counter[str] = field(default_factory=Counter)
    outputs: dict[int, Tree] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all its batches came back."""
        return self.done == self.batches

    def state(self, now: float) -> dict[str, Any]:
        """Return what the figures are made of so far, as plain values."""
        return {
            "done": self.done,
            "samples": self.samples,
            "seconds": 0.0 if self.began is None else now - self.began,
            "figures": {name: [mean.sum, mean.weight] for name, mean in self.figures.items()},
            "staleness": {gate: histogram.counts for gate, histogram in self.staleness.items()},
            "skipped": dict(self.skipped),
            "gauges": dict(self._gauge_states()),
        }

    def restore(self, state: Mapping[str, Any], now: float) -> None:
        """Go on from what `state` returned."""
        self.began = now - state["seconds"]
        self.done, self.samples = state["done"], state["samples"]
        self.skipped.update(state["skipped"])
        self.figures.update({name: Mean(total, weight) for name, (total, weight) in state["figures"].items()})
        self.staleness.update({gate: Histogram(counts) for gate, counts in state["staleness"].items()})
        # One that cannot tell what it took in so far has no figure for this epoch.
        self.gauges = {name: gauge for name, gauge in self.gauges.items() if name in state["gauges"]}
        for name, gauge in self.gauges.items():
            gauge.load_state_dict(state["gauges"][name])  # type: ignore[attr-defined] # one that was saved has it

    def _gauge_states(self) -> Iterator[tuple[str, Any]]:
        for name, gauge in self.gauges.items():
            if hasattr(gauge, "state_dict") and hasattr(gauge, "load_state_dict"):
                try:
                    yield name, copied(gauge.state_dict())
                except Exception as error:  # noqa: BLE001 - a metric may raise anything, and training is worth more
                    logger.warning("metric %r cannot be saved, %s: %s", name, type(error).__name__, error)

    def count(self, figures: Mapping[str, float], samples: int) -> None:
        """Take in loss and metrics of a batch."""
        self.samples += samples
        for name, value in figures.items():
            self.figures[name].add(value, samples)


class Epochs:
    """The epochs of one sentinel that are not closed; several may overlap.

    Args:
        sentinel: describes it.
        gauges: makes the metrics of an epoch that are no means.

    Attributes:
        gates: names, in the order of the chain.
        done: batches that came back, over all epochs.
        latest: number of the latest epoch that has begun; 0 before the first.
        tracer: keeps when the losses of batches are computed, while somebody wants that.
        losses: of the latest training batches, as `SentinelStatus` has them; None while nobody records.
    """

    def __init__(self, sentinel: Sentinel, gauges: Callable[[], Gauges] = dict) -> None:
        self.gates: Sequence[str] = ()
        self.done = 0
        self.latest = 0
        self.tracer = SliceKeeper(sentinel.name, "sentinel")
        self.losses: deque[tuple[int, float]] | None = None
        self._sentinel = sentinel
        self._gauges = gauges
        self._epochs: dict[int, Epoch] = {}
        self._samples = 0  # likewise
        self._skipped = Counter[str]()  # of the epochs that are closed

    def epoch(self, number: int) -> Epoch:
        """Return an epoch that has not been closed yet."""
        if number not in self._epochs:
            self._epochs[number] = Epoch(number, self._gauges())
        return self._epochs[number]

    def begin(self, number: int, now: float) -> Epoch:
        """Return an epoch; the first call begins it."""
        epoch = self.epoch(number)
        if epoch.began is None:
            epoch.began = now
            self.latest = max(self.latest, number)
        return epoch

    def came_back(self, epoch: Epoch, trail: Sequence[int | str]) -> None:
        """Note that a batch came back.

        Args:
            epoch: of the batch.
            trail: what each gate did with it, from the last gate on.
        """
        self.done += 1
        epoch.done += 1
        for gate, outcome in zip(reversed(self.gates), trail, strict=False):
            if isinstance(outcome, int):
                epoch.staleness[gate].add(outcome)
            elif outcome not in (NOTHING_TO_LEARN, ALREADY_APPLIED):
                epoch.skipped[f"{outcome} at {gate}"] += 1

    def given_up(self, epoch: Epoch, reason: str) -> None:
        """Note that a batch will not come back."""
        epoch.done += 1
        epoch.skipped[reason] += 1

    def close(self, epoch: Epoch, now: float) -> Report:
        """Forget an epoch and report on it.

        Raises:
            Exception: anything that a metric raises when it is read.
        """
        del self._epochs[epoch.number]
        self.tracer.tell()  # it may be the last one
        self._skipped += epoch.skipped
        self._samples += epoch.samples
        figures = {name: mean.value for name, mean in epoch.figures.items()}
        figures |= read(epoch.gauges) if epoch.samples else {}
        return Report(
            sentinel=self._sentinel.name,
            kind=self._sentinel.kind,
            epoch=epoch.number,
            samples=epoch.samples,
            loss=figures.get("loss", nan),
            metrics={name: figures.get(name, nan) for name in self._sentinel.metrics},
            seconds=0.0 if epoch.began is None else now - epoch.began,
            staleness={gate: epoch.staleness[gate] for gate in self.gates if gate in epoch.staleness},
            skipped=dict(epoch.skipped),
            complete=epoch.complete,
            outputs=tuple(output for _, output in sorted(epoch.outputs.items())),
        )

    def is_last(self, report: Report) -> bool:
        """Whether the sentinel ends after this report.

        Raises:
            Exception: anything that the sentinel's `until` raises.
        """
        if report.epoch == self._sentinel.last_epoch:
            return True
        return self._sentinel.until is not None and bool(self._sentinel.until(report))

    def resume(self, position: Position, now: float) -> None:
        """Go on where a sentinel stood."""
        if position.figures is not None:
            epoch = self.begin(position.epoch, now)
            epoch.restore(position.figures, now)
            epoch.done = position.index  # with those that were refused or lost

    def state(self, number: int, now: float) -> dict[str, Any] | None:
        """Return what is known of an epoch, as plain values; None where it has not begun."""
        epoch = self._epochs.get(number)
        return None if epoch is None or epoch.began is None else epoch.state(now)

    def status(self, now: float, **others: Any) -> SentinelStatus:
        """Return how the sentinel stands.

        Args:
            now: seconds.
            **others: the fields of the status that epochs say nothing about.
        """
        latest = self._epochs.get(self.latest) or Epoch(self.latest)
        return SentinelStatus(
            name=self._sentinel.name,
            kind=self._sentinel.kind,
            epoch=self.latest,
            done=self.done,
            epochs=self._sentinel.last_epoch,
            batches=latest.done,
            samples=latest.samples,
            seconds=0.0 if latest.began is None else now - latest.began,
            loss=latest.figures["loss"].value,
            skipped=dict(sum((each.skipped for each in self._epochs.values()), self._skipped)),
            losses=tuple(self.losses or ()),
            process=this_process(),
            samples_done=self._samples + sum(each.samples for each in self._epochs.values()),
            **others,
        )

    def observed(self, message: Observe) -> None:
        """Keep the losses of the batches to come, since somebody records; and trace them, if that is wanted."""
        self.losses = deque(maxlen=LOSSES)
        self.tracer.observed(message)

    def under_way(self) -> list[Epoch]:
        """Return the epochs that have begun and are not closed, oldest first."""
        begun = [epoch for epoch in self._epochs.values() if epoch.began is not None]
        return sorted(begun, key=lambda epoch: epoch.number)
