"""Sums up how a gate stands: where its time goes, what waits, what it keeps and what it sends."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from akkordeon.actor import Context
from akkordeon.gate.backward import Graph
from akkordeon.gate.computations import Computations
from akkordeon.gate.forward import Recomputation
from akkordeon.gate.learner import Learner
from akkordeon.gate.pending import PendingBatches
from akkordeon.gate.turns import Turns
from akkordeon.messages.batches import Backward, Forward, Validate
from akkordeon.messages.histogram import Histogram
from akkordeon.messages.process import this_process
from akkordeon.messages.states import GateStatus
from akkordeon.messages.tree import Tree, flatten
from akkordeon.tensors import dense_parts


class Tally:
    """What a gate counts.

    Attributes:
        staleness: of the updates so far.
        skipped: gradients that were not applied, by reason.
    """

    def __init__(self) -> None:
        self.staleness = Histogram()
        self.skipped = Counter[str]()
        self._sent = {"downstream": [0, 0], "upstream": [0, 0]}

    def sent(self, to: str, x: Tree) -> None:
        """Count a message to the next gate or a sentinel ("downstream"), or to the gate before ("upstream")."""
        sent = self._sent[to]
        sent[0] += 1
        sent[1] += nbytes(x if to == "upstream" else (x,) if isinstance(x, Tensor) else flatten(x)[0])

    def status(
        self,
        learner: Learner,
        pending: PendingBatches[Graph | Recomputation],
        computations: Computations,
        turns: Turns,
        context: Context,
    ) -> GateStatus:
        """Return how a gate stands."""
        norms = learner.norms
        return GateStatus(
            "",
            learner.weights.version,
            len(pending),
            self.staleness.copy(),  # the receiver may be in the same process, and read it later
            {reason: count for reason, count in self.skipped.items() if count},
            norms.gradient.value,
            norms.correction.value,
            computations.pace.seconds,
            turns.why,
            len(context.waiting()),
            kept_bytes=kept(entry.saved for entry in pending),
            sent={to: (messages, size) for to, (messages, size) in self._sent.items()},
            learning_rate=learner.learning_rate,
            process=this_process(learner.device),
            **time_of(computations, context),
        )


def nbytes(tensors: Iterable[Tensor | None]) -> int:
    """Return the bytes of some tensors; of a sparse one, those of its indices and values."""
    size = 0
    for each in tensors:
        if each is not None:
            parts = (each,) if each.layout is torch.strided else dense_parts(each)
            size += sum(part.numel() * part.element_size() for part in parts)
    return size


def kept(saved: Iterable[Graph | Recomputation | None]) -> int:
    """Return the bytes of inputs and outputs that batches keep; what autograd keeps in between cannot be known."""
    found = 0
    for each in saved:
        if each is not None:
            found += nbytes((*each.inputs, *each.outputs) if isinstance(each, Graph) else flatten(each.x)[0])
    return found


def time_of(computations: Computations, context: Context) -> dict[str, Any]:
    """Return the fields of a `GateStatus` that say where its time has gone."""
    usage = context.usage()
    computed, waited = computations.seconds(usage.now), computations.locked
    turns, thens = usage.turns.get, usage.thens.get
    spent = {
        "forward": computed["forward"] - waited["forward"] + turns(Forward, 0.0) + thens(Forward, 0.0),
        "backward": computed["backward"] - waited["backward"] + turns(Backward, 0.0),
        "update": thens(Backward, 0.0) + computations.update,
        "evaluation": computed["evaluation"] - waited["evaluation"] + turns(Validate, 0.0) + thens(Validate, 0.0),
        "lock": sum(waited.values()),
    }
    # Computations that run at once take more seconds than there are; the time of messages in between is divided.
    rest = usage.seconds - usage.ready - usage.starved
    scale = rest / total if (total := sum(spent.values())) else 0.0
    spent = {what: seconds * scale for what, seconds in spent.items()}
    waits = sorted(usage.waits) or [0.0]
    return {
        "spent": {**spent, "ready": usage.ready, "starved": usage.starved},
        "in_mailbox": (waits[len(waits) // 2], waits[len(waits) * 95 // 100]),
    }
