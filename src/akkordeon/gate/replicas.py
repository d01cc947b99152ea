"""Keeps the module objects of a gate: others for each purpose, since a module may have state of its own."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from weakref import ref

from akkordeon.gate.backward import Graph
from akkordeon.gate.computations import What
from akkordeon.gate.forward import Recomputation, Replica


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
        self._generation = 0  # those of an older one are not used any more
        self._idle: defaultdict[What, list[Replica]] = defaultdict(list)
        self._kept: tuple[Replica, ref[Graph]] | None = None
        self._begun = False

    def take(self, what: What) -> Replica:
        """Return one for a computation; where the module has state of its own, `ready` must hold."""
        idle = self._idle[what]
        if self.changes and what == "evaluation":
            idle[:] = [self._new(self._idle["forward"][-1])]
        return idle.pop() if idle else self._new(None)

    def give(self, what: What, replica: Replica) -> None:
        """Take one back, unless new ones were asked for since."""
        if self._kept is not None and self._kept[0] is replica:
            self._kept = None
        if replica.generation == self._generation:
            self._idle[what].append(replica)

    def keep(self, replica: Replica, saved: Graph | Recomputation) -> None:
        """Take one back after a forward; after the backward, or once the graph is dropped, if that may use it again."""
        if isinstance(saved, Graph) and saved.replica is not None:
            if not self._begun:  # the second forward goes on from what the first has left, to show what changes
                self.give("forward", self._new(replica))
            self._kept = replica, ref(saved)
        else:
            self.give("forward", replica)
        self._begun = True

    def ready(self) -> bool:
        """Whether the one that has the module's state is here, if it has any."""
        if self._kept is not None and self._kept[1]() is None:
            self.give("forward", self._kept[0])
        return not self.changes or bool(self._idle["forward"])

    def clear(self) -> None:
        """Make new ones from now on."""
        self._idle.clear()
        self._generation += 1
        self._begun = False

    def _new(self, like: Replica | None) -> Replica:
        replica = self._make(like)
        replica.generation = self._generation
        return replica

    def note(self, changed: Sequence[str], replica: Replica) -> None:
        """Note that a forward changes plain attributes, and has done so in one replica, which alone is used then."""
        self.changes = ", ".join(map(repr, changed))
        self.clear()
        self._begun = True
        replica.generation = self._generation
