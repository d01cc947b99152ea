"""Keeps the module objects of a gate: others for each purpose, since a module may have state of its own."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from weakref import WeakSet

from akkordeon.gate.computations import What
from akkordeon.gate.forward import Replica


class Replicas:
    """The idle module objects of one gate.

    Args:
        make: makes one, as far as another one if there is one given.

    Attributes:
        changes: the plain attributes that a forward changes; empty where there are none.
    """

    def __init__(self, make: Callable[[Replica | None], Replica]) -> None:
        self.changes = ""
        self._make = make
        self._valid: WeakSet[Replica] = WeakSet()
        self._idle: defaultdict[What, list[Replica]] = defaultdict(list)

    def take(self, what: What) -> Replica:
        """Return one for a computation.

        Raises:
            RuntimeError: the one that has the module's state is needed by another batch.
        """
        idle, training = self._idle[what], self._idle["forward"]
        if self.changes and what == "evaluation" and training:
            idle[:] = [self._new(training[-1])]
        if self.changes and what == "forward" and not idle:
            raise RuntimeError(
                f"its forward changes {self.changes}, and its backward uses the module again, so there "
                "can be one batch in flight only: use in_flight=1, or leave out what does that, such as checkpoints"
            )
        return idle.pop() if idle else self._new(None)

    def give(self, what: What, replica: Replica) -> None:
        """Take one back, unless new ones were asked for since."""
        if replica in self._valid:
            self._idle[what].append(replica)

    def clear(self) -> None:
        """Make new ones from now on."""
        self._idle.clear()
        self._valid.clear()

    def _new(self, like: Replica | None) -> Replica:
        replica = self._make(like)
        self._valid.add(replica)
        return replica

    def note(self, changed: Sequence[str]) -> None:
        """Note that a forward changes plain attributes."""
        self.changes = ", ".join(map(repr, changed))
