"""Stands in for the computations of gates; gates, sentinels and providers are the real actors.

A gate passes on its input, learns nothing, and counts: the batches in flight that it keeps, the versions of weights
that these hold, and the staleness of its updates.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from akkordeon.gate.backward import BatchGradients, Graph
from akkordeon.gate.description import Gate
from akkordeon.gate.forward import Trained
from akkordeon.gate.updates import Norms
from akkordeon.gate.versions import Snapshot
from akkordeon.messages.states import GateState
from akkordeon.messages.tree import Tree


@dataclass
class Tally:
    """Of one gate.

    Args:
        updates: since the count began.
        late: sum of their staleness.
    """

    updates: int = 0
    late: int = 0


@dataclass
class Census:
    """Counts of all gates of a network, now and at most.

    Args:
        first: name of the gate where batches end.
        clock: returns the virtual time in seconds.
        ended: time at which each batch was done.
        tallies: by gate.
        stashed: batches that gates keep, each counted once per gate.
        versions: of weights that gates hold, including the live ones.
    """

    first: str
    clock: Callable[[], float]
    ended: list[float] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    stashed: int = 0
    versions: int = 0
    most_stashed: int = 0
    most_versions: int = 0

    def keeps(self, more_versions: int) -> None:
        """Count one more batch at a gate."""
        self.stashed += 1
        self.versions += more_versions
        self.most_stashed = max(self.most_stashed, self.stashed)
        self.most_versions = max(self.most_versions, self.versions)

    def applies(self, gate: str, staleness: int, fewer_versions: int) -> None:
        """Count an update of a gate."""
        self.stashed -= 1
        self.versions -= fewer_versions
        tally = self.tallies[gate]
        tally.updates += 1
        tally.late += staleness
        if gate == self.first:
            self.ended.append(self.clock())

    def begin(self) -> None:
        """Count staleness from now on."""
        self.tallies = {name: Tally() for name in self.tallies}

    def staleness(self, gate: str) -> float:
        """Return the mean."""
        return self.tallies[gate].late / max(1, self.tallies[gate].updates)


@dataclass(frozen=True, slots=True)
class _Graph(Graph):
    def gradients(self, of_outputs: Sequence[Tensor | None]) -> BatchGradients:
        return _Returned([], tuple(of_outputs), finite=True, version=self.snapshot.version)


@dataclass(frozen=True, slots=True)
class _Returned(BatchGradients):
    version: int = 0


class _Weights:
    trainable: tuple[()] = ()
    buffers: Mapping[str, Tensor] = {}

    def __init__(self) -> None:
        self.version = 0


class StandIn:
    """Replaces the learner of a gate; it is its own replica."""

    def __init__(self, census: Census, gate: Gate, state: GateState | None) -> None:  # noqa: ARG002 - there is none
        self.weights = _Weights()
        self.norms = Norms()
        self._name = gate.name
        self._census = census
        self._snapshot = Snapshot(0, (), ())
        self._holders: Counter[int] = Counter()
        census.tallies[gate.name] = Tally()
        census.versions += 1  # the live ones

    def replica(self, random_lock: object, like: object) -> "StandIn":  # noqa: ARG002 - nothing is drawn
        """Return itself."""
        return self

    def snapshot(self, in_flight: int) -> Snapshot:  # noqa: ARG002 - nothing is predicted
        """Return the current version; a batch holds it from now on."""
        version = self.weights.version
        if self._snapshot.version != version:
            self._snapshot = Snapshot(version, (), ())
        self._holders[version] += 1
        self._census.keeps(int(self._holders[version] == 1))
        return self._snapshot

    def train(self, x: Tree, snapshot: Snapshot, buffers: object, *, wanted: object) -> Trained:  # noqa: ARG002
        """Pass on the input."""
        return Trained(x, (), _Graph((), (), snapshot), {}, None)

    def learn(self, result: Any, staleness: int, arrival: object, others: float = 0.0) -> int:  # noqa: ARG002
        """Count, and start the next version."""
        self._holders[result.version] -= 1
        over = not self._holders[result.version]
        if over:
            del self._holders[result.version]
        self._census.applies(self._name, staleness, int(over))
        self.weights.version += 1
        return staleness
