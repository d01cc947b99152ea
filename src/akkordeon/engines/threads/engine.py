"""The engine in this process: any number of actors on a fixed pool of worker threads. Nothing is copied."""

from akkordeon.actor import Context, Engine, Ref
from akkordeon.engines.context import ActorContext, LocalRef
from akkordeon.engines.local import LocalActors
from akkordeon.engines.pool import Runnable
from akkordeon.engines.posix import available_cores
from akkordeon.errors import ActorNotFound


class Threads(LocalActors, Engine):
    """Actors on `workers` threads of this process (default: one per core), one intra-op thread each.

    Args:
        workers: size of the pool.
        debug: copy every tensor that is sent and compare it later; a write into one is an error
            (`SharedTensorWritten`). Slow; for tests.
        patience: how many seconds `close` waits for a computation or a loader that does not end.

    Raises:
        ValueError: there are no workers.
    """

    def __init__(self, workers: int | None = None, *, debug: bool = False, patience: float = 5.0) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        workers = workers or available_cores()
        self.computations = min(2, workers)
        super().__init__(workers, debug=debug, patience=patience)

    def find(self, name: str) -> Ref:
        """Return the living actor of that name."""
        with self._lock:
            if name not in self._runnables:
                raise ActorNotFound(f"no actor named {name!r}; there are: {', '.join(self._runnables) or 'none'}")
            return self._runnables[name].context.me

    def context(self, runnable: Runnable) -> Context:
        """Return what an actor may do, with an address that is valid in this process."""
        return ActorContext(self, self, runnable, LocalRef(self, runnable))

    def runnable(self, ref: Ref) -> Runnable:
        """Return the actor that an address is of."""
        assert isinstance(ref, LocalRef)
        assert isinstance(ref.mailbox, Runnable)
        return ref.mailbox
