"""Replaces the computation in the simulation, and nothing else: gates, sentinels and conductor are the real ones.

Weights are the ordered list of the batches that were applied. What travels between gates is a `Token`, which says whose
batch it is and which forward made it; a gradient says which output it belongs to. So a gradient that meets the forward
of another attempt is noticed, and so is a batch that is applied twice.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch

from akkordeon.gate.backward import BatchGradients, Graph
from akkordeon.gate.description import Gate
from akkordeon.gate.forward import Trained
from akkordeon.gate.updates import Norms
from akkordeon.messages.batches import NON_FINITE
from akkordeon.messages.states import GateState

Batch = tuple[int, int]
"""Which sentinel (a number for each that ever joined), and which of its batches."""

Token = tuple[int, int, int, bool]
"""What travels downstream: sentinel and batch, the number of the forward that made it, whether it is finite."""

FINE, BROKEN = torch.zeros(1), torch.full((1,), math.nan)


class Poison(BaseException):
    """Ends the gate that computes it, as a crash in a kernel would."""


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with batches, each given by batch and gate.

    Args:
        refused: cannot be computed.
        refused_back: its gradient cannot be computed.
        poison: computing it ends the gate, each time.
        torn: applying it raises in the middle, each time.
        hiccups: applying it raises in the middle, once.
        non_finite: the gradient is not finite.
        overflows: it is, but the weights are not when it has been applied.
        lossless: the loss is not finite; of the sentinel, so the gate says nothing.
    """

    refused: frozenset[tuple[Batch, str]] = frozenset()
    refused_back: frozenset[tuple[Batch, str]] = frozenset()
    poison: frozenset[tuple[Batch, str]] = frozenset()
    torn: frozenset[tuple[Batch, str]] = frozenset()
    hiccups: frozenset[tuple[Batch, str]] = frozenset()
    non_finite: frozenset[tuple[Batch, str]] = frozenset()
    overflows: frozenset[tuple[Batch, str]] = frozenset()
    lossless: frozenset[Batch] = frozenset()


class Book(Protocol):
    """Who is told what gates do, and knows what is to go wrong."""

    trouble: Trouble

    def number(self) -> int:
        """Return a number that nobody else gets."""

    def once(self, what: object) -> bool:
        """Whether this is asked for the first time."""

    def injected(self, kind: str) -> None:
        """Count a fault."""

    def born(self, learner: "StubLearner") -> None:
        """Note that a gate was made."""

    def computed(self, learner: "StubLearner", batch: Batch) -> None:
        """Note that a gate computes the forward of a batch."""

    def applied(self, learner: "StubLearner", batch: Batch, staleness: int) -> None:
        """Note that a gate applies a batch, before it does."""

    def violated(self, text: str) -> None:
        """Fail."""


@dataclass(frozen=True, slots=True)
class StubState(GateState):
    """With the batches that were applied."""

    history: tuple[Batch, ...] = ()


@dataclass(frozen=True, slots=True)
class _Snapshot:
    version: int
    trainable: tuple[()] = ()


@dataclass(frozen=True, slots=True)
class _Gradient:
    of_output: int
    """The number of the forward that made the output."""

    layout: ClassVar = torch.strided

    @staticmethod
    def numel() -> int:
        return 0

    @staticmethod
    def element_size() -> int:
        return 0


@dataclass(frozen=True, slots=True)
class _StubGradients(BatchGradients):
    batch: Batch = (0, 0)
    version: int = 0


@dataclass(frozen=True, slots=True)
class _StubGraph(Graph):
    learner: "StubLearner | None" = None
    token: Token = (0, 0, 0, True)
    output: int = 0

    def gradients(self, of_outputs: Any) -> BatchGradients:
        learner = self.learner
        assert learner is not None
        return learner.backward(self.token, self.output, self.snapshot.version, of_outputs)


class _Weights:
    """Stands for `akkordeon.gate.versions.Weights`."""

    trainable = ()
    buffers: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.version = 0

    def snapshot(self) -> _Snapshot:
        return _Snapshot(self.version)


class StubLearner:
    """Stands for `akkordeon.gate.learner.Learner`.

    Attributes:
        actor: name of the gate's actor.
        history: the batches applied, those before a restart among them.
        seen: the same, as a set.
        began: how many of them were there at the start.
        copied: version of the latest copy that was asked for.
    """

    def __init__(self, book: Book, gate: Gate, state: GateState | None) -> None:
        self.name = gate.name
        self.actor = ""
        self.history: list[Batch] = list(state.history) if isinstance(state, StubState) else []
        self.seen = set(self.history)
        self.weights = _Weights()
        self.weights.version = self.began = len(self.history)
        self.copied = self.began
        self.finite = True
        self.torn = False
        self.norms = Norms()
        self._book = book
        book.born(self)

    def replica(self, random_lock: object, like: object = None) -> "StubLearner":
        """Compute with itself: nothing is shared."""
        return self

    # As a replica

    def train(self, x: Token, snapshot: _Snapshot, buffers: object, *, wanted: object) -> Trained:
        self._check_whole("computes")
        key, seq, _, finite = x
        self._book.computed(self, (key, seq))
        self._raise_if_troubled((key, seq))
        number = self._book.number()
        graph = _StubGraph((), (), snapshot, learner=self, token=x, output=number)  # type: ignore[arg-type] # a stub's
        return Trained((key, seq, number, finite and self.finite), (), graph, {}, None)

    def evaluate(self, x: Token, snapshot: _Snapshot, buffers: object) -> Token:
        self._check_whole("evaluates")
        return x

    def backward(self, token: Token, output: int, version: int, of_outputs: Any) -> BatchGradients:
        batch, trouble = token[:2], self._book.trouble
        for gradient in of_outputs:
            if gradient.of_output != output:
                self._book.violated(f"{self.actor}: the gradient of batch {batch} meets the forward of another attempt")
        if (batch, self.name) in trouble.refused_back:
            self._book.injected("refused gradient")
            raise ValueError("a gradient that cannot be computed")
        finite = (batch, self.name) not in trouble.non_finite
        if not finite:
            self._book.injected("non-finite gradient")
        return _StubGradients([], (_Gradient(token[2]),), finite=finite, batch=batch, version=version)  # type: ignore[arg-type]

    def _raise_if_troubled(self, batch: Batch) -> None:
        trouble = self._book.trouble
        if (batch, self.name) in trouble.refused:
            self._book.injected("refused batch")
            raise ValueError("a batch that cannot be computed")
        if (batch, self.name) in trouble.poison:
            self._book.injected("poison")
            raise Poison(f"poison {batch}")

    # As a learner

    def snapshot(self, in_flight: int) -> _Snapshot:
        return self.weights.snapshot()

    def learn(
        self, result: _StubGradients, staleness: int, arrival: Callable[[], object], others: float = 0.0
    ) -> int | str:
        self._check_whole("learns")
        batch, trouble, book = result.batch, self._book.trouble, self._book
        if not result.finite:
            return NON_FINITE
        if staleness != self.weights.version - result.version:
            book.violated(f"{self.actor}: batch {batch} is said to be {staleness} updates late, and is not")
        torn = (batch, self.name) in trouble.torn
        hiccup = (batch, self.name) in trouble.hiccups and book.once((batch, self.name))
        if torn or hiccup:
            self.torn = True
            book.injected("torn update" if torn else "hiccup")
            raise RuntimeError(f"torn by {batch}")
        book.applied(self, batch, staleness)
        if (batch, self.name) in trouble.overflows:
            book.injected("overflow")
            self.finite = False
        self.history.append(batch)
        self.seen.add(batch)
        self.weights.version += 1
        return staleness

    def state(self, *, whole: bool = True, random: bool = True) -> GateState:
        self._check_whole("is copied")
        self.copied = self.weights.version
        weights = {"w": FINE if self.finite else BROKEN}
        return StubState(self.name, f"{self.name}.", self.weights.version, weights, {}, {}, tuple(self.history))

    def _check_whole(self, what: str) -> None:
        if self.torn:
            self._book.violated(f"{self.actor} {what} with torn weights")


class StubJudge:
    """Stands for `akkordeon.sentinel.loss.LossAndMetrics`."""

    def __init__(self, loss: Callable[[Token, object], float], metrics: object) -> None:
        self._loss = loss

    def gauges(self) -> dict[str, Any]:
        return {}

    def learn(self, output: Token, target: object, gauges: object = None) -> tuple[dict[str, float], tuple[Any, ...]]:
        return {"loss": self._loss(output, target)}, (_Gradient(output[2]),)

    def measure(self, output: Token, target: object, gauges: object = None) -> dict[str, float]:
        return {"loss": self._loss(output, target)}


@dataclass
class Loader:
    """Yields tokens of batches, another one each time.

    Args:
        key: of the sentinel.
        length: of an epoch.
    """

    key: int
    length: int
    count: Iterator[int] = field(default_factory=itertools.count)

    def __call__(self) -> "Loader":
        return Loader(self.key, self.length)

    def __iter__(self) -> Iterator[tuple[Token, None]]:
        for _ in range(self.length):
            yield (self.key, next(self.count), 0, True), None
