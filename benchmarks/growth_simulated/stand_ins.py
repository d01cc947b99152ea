"""What is not real in the simulation: what gates compute. Gates, sentinels and providers are the real ones.

A gate hands on what it gets, learns nothing, and counts: what it keeps of batches in flight, the versions of its
weights that these hold, and how late its updates are.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from akkordeon.differentiate import Gradients, Graph
from akkordeon.gate import Gate
from akkordeon.replica import Trained
from akkordeon.signals import GateState
from akkordeon.steps import Norms
from akkordeon.tree import Tree
from akkordeon.versions import Snapshot

__all__ = ["Census", "StandIn"]


@dataclass
class Tally:
    """Of one gate.

    Args:
        updates: since it last began to count.
        late: staleness of these, summed up.
    """

    updates: int = 0
    late: int = 0


@dataclass
class Census:
    """What all gates of a network keep, now and at most.

    Args:
        first: name of the gate where batches end.
        clock: tells the virtual second.
        ended: when each batch was over.
        tallies: by gate.
        stashed: batches that gates keep something of, each as often as gates do.
        versions: of weights that gates hold, live ones included.
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
        """Note that a gate keeps one batch more."""
        self.stashed += 1
        self.versions += more_versions
        self.most_stashed = max(self.most_stashed, self.stashed)
        self.most_versions = max(self.most_versions, self.versions)

    def applies(self, gate: str, staleness: int, fewer_versions: int) -> None:
        """Note that a gate applies a batch."""
        self.stashed -= 1
        self.versions -= fewer_versions
        tally = self.tallies[gate]
        tally.updates += 1
        tally.late += staleness
        if gate == self.first:
            self.ended.append(self.clock())

    def begin(self) -> None:
        """Count staleness from here."""
        self.tallies = {name: Tally() for name in self.tallies}

    def staleness(self, gate: str) -> float:
        """Return the mean."""
        return self.tallies[gate].late / max(1, self.tallies[gate].updates)


@dataclass(frozen=True, slots=True)
class _Graph(Graph):
    def gradients(self, of_outputs: Sequence[Tensor | None]) -> Gradients:
        return _Returned([], tuple(of_outputs), finite=True, version=self.snapshot.version)


@dataclass(frozen=True, slots=True)
class _Returned(Gradients):
    version: int = 0


class _Weights:
    trainable: tuple[()] = ()
    buffers: Mapping[str, Tensor] = {}

    def __init__(self) -> None:
        self.version = 0


class StandIn:
    """See `akkordeon.learner.Learner`; it is its own replica."""

    def __init__(self, census: Census, gate: Gate, state: GateState | None) -> None:  # noqa: ARG002 - there is none
        self.weights = _Weights()
        self.norms = Norms()
        self._name = gate.name
        self._census = census
        self._snapshot = Snapshot(0, (), ())
        self._holders: Counter[int] = Counter()
        census.tallies[gate.name] = Tally()
        census.versions += 1  # the live ones

    def replicas(self, random_lock: object) -> list["StandIn"]:  # noqa: ARG002 - nothing is drawn
        """Compute with itself."""
        return [self]

    def snapshot(self, in_flight: int) -> Snapshot:  # noqa: ARG002 - nothing is predicted
        """Return the present version; a batch holds it from here on."""
        version = self.weights.version
        if self._snapshot.version != version:
            self._snapshot = Snapshot(version, (), ())
        self._holders[version] += 1
        self._census.keeps(int(self._holders[version] == 1))
        return self._snapshot

    def train(self, x: Tree, snapshot: Snapshot, buffers: object, *, wants_gradient: bool) -> Trained:  # noqa: ARG002
        """Hand on the input."""
        return Trained(x, _Graph((), (), snapshot), {}, None)

    def learn(self, result: Any, staleness: int, arrival: object, others: float = 0.0) -> int:  # noqa: ARG002
        """Count, and begin another version."""
        self._holders[result.version] -= 1
        over = not self._holders[result.version]
        if over:
            del self._holders[result.version]
        self._census.applies(self._name, staleness, int(over))
        self.weights.version += 1
        return staleness
