"""The guards of gates and sentinels, and how to switch each off: a model of the zoo must notice."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from torch.utils import checkpoint

from akkordeon.gate import backward, closures, forward, guards, internals, replicas, turns, versions
from akkordeon.sentinel import loss
from tests.strangers.arrangements import ARRANGEMENTS, LATE
from tests.strangers.entries import ZOO
from tests.strangers.late import trial_of_gradients
from tests.strangers.trials import Outcome, trial


@dataclass(frozen=True)
class Mutation:
    """A guard, switched off.

    Args:
        guard: does not hold any more.
        owner: of the function that keeps it.
        name: of the function.
        instead: takes its place.
        noticed_by: an entry of the zoo that is not trained, or refused, as expected then.
        late: whether it shows with several batches in flight.
        arrangement: in which it shows, among those.
    """

    guard: str
    owner: Any
    name: str
    instead: object
    noticed_by: str
    late: bool = False
    arrangement: int = 0

    def outcome(self) -> Outcome:
        """Train the entry without the guard."""
        entry = ZOO[self.noticed_by]
        with self.off():
            if self.late:
                return trial_of_gradients(entry, LATE[self.arrangement])
            return trial(entry, ARRANGEMENTS[self.arrangement])

    def off(self) -> AbstractContextManager[Any]:
        """Switch the guard off."""
        return mock.patch.object(self.owner, self.name, self.instead)


def _always(value: object) -> Callable[..., object]:
    return lambda *_arguments, **_named: value


def _nothing(*_arguments: object) -> list[object]:
    return []


def _latest(current: Any, before: Any, after: Any, means: Any) -> Any:
    return after


def _without_state(pool: Any, what: Any) -> Any:
    return pool._idle[what].pop() if pool._idle[what] else pool._new(None)


def _enter_all(replica: Any, *, training: bool) -> None:
    replica._module.train(training)
    replica._mode = training


MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        "weights are compared by content",
        guards.Look,
        "check_weights",
        _always(None),
        "teachers: frozen teacher that follows in place",
        arrangement=0,
    ),
    Mutation(
        "weights are compared by place in memory",
        forward,
        "memory_of",
        _nothing,
        "parameters: assigned late by .data",
        arrangement=0,
    ),
    Mutation(
        "weights are compared by identity",
        forward.Replica,
        "_replaced",
        _always(value=False),
        "parameters: replaced late",
        arrangement=0,
    ),
    Mutation(
        "attributes are compared by content", guards.Look, "changed", _nothing, "state: means in a deque", arrangement=0
    ),
    Mutation(
        "attributes are compared by identity",
        guards.Identities,
        "changed",
        _nothing,
        "state: counter of small batches, which are late",
        arrangement=0,
    ),
    Mutation(
        "generators of Python and NumPy are looked at",
        guards.Look,
        "drew",
        _nothing,
        "language: layers left out by Python's coin",
        arrangement=8,
    ),
    Mutation(
        "buffers that are views of others are not written",
        forward.Replica,
        "_check_buffers",
        _always(None),
        "buffers: one buffer in two parts, and a view",
        arrangement=0,
    ),
    Mutation(
        "what the graph shows is looked at",
        forward,
        "used_again",
        _always(value=False),
        "parameters: reached through a list",
        arrangement=0,
    ),
    Mutation(
        "a checkpoint is noticed",
        checkpoint,
        "_CheckpointFrame",
        internals._NotedFrame.__base__,
        "checkpointing: checkpointed",
        late=True,
        arrangement=2,
    ),
    Mutation(
        "parts in evaluation mode stay there",
        forward.Replica,
        "_enter",
        _enter_all,
        "teachers: teacher in evaluation mode",
        arrangement=0,
    ),
    Mutation(
        "evaluation has the state of training",
        replicas.Replicas,
        "take",
        _without_state,
        "state: counter",
        arrangement=0,
    ),
    Mutation(
        "forwards take turns where their order counts",
        turns.Turns,
        "only_one",
        _always(None),
        "recurrent: state carried in an attribute",
        late=True,
        arrangement=3,
    ),
    Mutation(
        "buffers are merged by their formula",
        versions,
        "merge",
        _latest,
        "recurrent: state carried in buffers",
        late=True,
        arrangement=3,
    ),
    Mutation(
        "functions capture the copy",
        closures.Captured,
        "_reaches",
        _always(value=False),
        "closures: lambda over self",
        arrangement=0,
    ),
    Mutation(
        "gradients have a memory of their own",
        backward,
        "_own",
        lambda gradients, *_others: list(gradients),
        "parameters: transposed gradients, clipped",
        arrangement=0,
    ),
    Mutation(
        "the graph of the loss is looked at",
        loss,
        "_check_graph",
        _always(None),
        "closures: features caught by a hook, used in the loss",
        arrangement=0,
    ),
)
