"""Says of a batch at a gate what compensations want to know, and why it is refused."""

from akkordeon.actor import Ref
from akkordeon.errors import BatchRefused
from akkordeon.gate.backward import Graph
from akkordeon.gate.forward import Recomputation
from akkordeon.gate.pending import Entry
from akkordeon.gate.versions import Weights
from akkordeon.messages.batches import Route
from akkordeon.staleness import Arrival


def arrival_of(staleness: int, entry: Entry[Graph | Recomputation], route: Route, weights: Weights) -> Arrival:
    """Return the facts about a gradient that has come."""
    return Arrival(
        staleness=staleness,
        now=weights.trainable,
        then=entry.saved.snapshot.trainable if isinstance(entry.saved, Graph) else (),
        version_forward=entry.version,
        version_now=weights.version,
        in_flight=entry.in_flight,
        sentinel=route.batch.sentinel,
        batch_size=route.size,
    )


def refused(gate: str, route: Route, what: str, error: Exception, upstream: Ref | None) -> BatchRefused:
    """Return the error that a gate cannot compute a batch.

    Args:
        gate: its name.
        route: of the batch.
        what: it cannot compute with.
        error: why.
        upstream: the gate before it, if there is one.
    """
    origin = "what the loader yields" if upstream is None else f"the output of {upstream.name}, which comes before"
    refusal = BatchRefused(
        f"gate {gate!r} cannot compute batch {route.batch}, {what}: {type(error).__name__}: {error}. "
        f"Its weights are untouched. Check {origin}"
    )
    refusal.__cause__ = error
    return refusal
