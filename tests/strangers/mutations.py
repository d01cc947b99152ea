"""The guards of gates and sentinels, and how to switch each off: a model of the zoo must notice.

python -m tests.strangers.mutations  # finds for each guard who in the zoo notices: half an hour
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from akkordeon.gate import backward, closures, forward, guards, replicas, turns, versions
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
    noticed_by: str = ""
    late: bool = False
    arrangement: int = 0

    def outcome(self) -> Outcome:
        """Train the entry without the guard."""
        with self.off():
            return tried(self.noticed_by, late=self.late, arrangement=self.arrangement)

    def off(self) -> AbstractContextManager[Any]:
        """Switch the guard off."""
        return mock.patch.object(self.owner, self.name, self.instead)


def tried(name: str, *, late: bool, arrangement: int) -> Outcome:
    """Train an entry of the zoo."""
    if late:
        return trial_of_gradients(ZOO[name], LATE[arrangement])
    return trial(ZOO[name], ARRANGEMENTS[arrangement])


def _always(value: object) -> Callable[..., object]:
    return lambda *_arguments, **_named: value


def _nothing(*_arguments: object) -> list[object]:
    return []


def _latest(current: Any, before: Any, after: Any, means: Any) -> Any:
    return after


def _without_state(pool: Any, what: Any) -> Any:
    return pool._idle[what].pop() if pool._idle[what] else pool._another(what)


def _enter_all(replica: Any, *, training: bool) -> None:
    replica._module.train(training)
    replica._mode = training


def _no_graph(self: Any, *_arguments: Any) -> None:
    self.again = self.reentrant = False


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("weights are compared by content", guards.Look, "check_weights", _always(None)),
    Mutation("weights are compared by place in memory", forward, "memory_of", _nothing),
    Mutation("weights are compared by identity", forward.Replica, "_replaced", _always(value=False)),
    Mutation("attributes are compared by content", guards.Look, "changed", _nothing),
    Mutation("attributes are compared by identity", guards.Standing, "changed", _nothing),
    Mutation("generators of Python and NumPy are looked at", guards.Look, "drew", _nothing),
    Mutation("buffers that are views of others are not written", forward.Replica, "_check_buffers", _always(None)),
    Mutation("what the graph shows is looked at", guards.Seen, "__init__", _no_graph),
    Mutation("a checkpoint is noticed", forward, "noted", mock.Mock(checkpoint=False, shared=False)),
    Mutation("parts in evaluation mode stay there", forward.Replica, "_enter", _enter_all),
    Mutation("evaluation has the state of training", replicas.Replicas, "take", _without_state),
    Mutation("forwards take turns where their order counts", turns.Turns, "only_one", _always(None)),
    Mutation("the first forwards run alone", turns, "ALONE_AT_FIRST", 0),
    Mutation("buffers are merged by their formula", versions, "merge", _latest),
    Mutation("no buffer becomes infinite", versions, "spoils", _always(value=False)),
    Mutation("functions capture the copy", closures.Captured, "replace", _always(None)),
    Mutation("functions use no module by a global name", closures.Captured, "_refuse_globals", _always(None)),
    Mutation("gradients have a memory of their own", backward, "_own", lambda gradients, *_others: list(gradients)),
    Mutation("the graph of the loss is looked at", loss, "_check_graph", _always(None)),
)


def noticing(mutation: Mutation) -> Iterator[tuple[str, bool, int, Outcome]]:
    """Yield those in the zoo that notice that a guard is off."""
    with mutation.off():
        for late, arrangements in ((False, ARRANGEMENTS), (True, LATE)):
            for name, entry in ZOO.items():
                if late and (entry.refused or not entry.apart):
                    continue
                for number in range(len(arrangements)):
                    outcome = tried(name, late=late, arrangement=number)
                    if not outcome.meets(entry):
                        yield name, late, number, outcome
