"""Hands the conductor copies of a gate to restart it from."""

import logging
from dataclasses import dataclass
from math import inf
from typing import Any

from akkordeon.actor import Context, Ref
from akkordeon.gate.learner import Learner
from akkordeon.gate.pending import PendingBatches
from akkordeon.messages.leases import Copy, NoCopy
from akkordeon.messages.tree import flatten
from akkordeon.tensors import all_finite

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Copying:
    """How often a gate hands over a copy.

    Args:
        every: updates from one copy to the next, at least.
        share: of its time that the gate may spend on copies; a large gate is copied less often.
    """

    every: int = 20
    share: float = 0.001


class Copies:
    """Hands copies of a gate to the conductor, now and then.

    Args:
        learner: of the gate.
        copying: how often.
    """

    def __init__(self, learner: Learner, copying: Copying) -> None:
        self._learner = learner
        self._every, self._share = copying.every, copying.share
        self._conductor: Ref | None = None
        self._copied = learner.weights.version
        self._not_before = -inf

    def to(self, conductor: Ref) -> None:
        """Send copies to this conductor from now on; a new one has none yet, so it gets one soon."""
        if self._conductor is not None and conductor != self._conductor:
            self._not_before, self._copied = -inf, -self._every
        self._conductor = conductor

    def maybe(self, context: Context, pending: PendingBatches[Any], updates: int | None = None) -> None:
        """Hand over a copy, if it is time.

        Rule of the protocol: gates hand copies over, so that they can be restarted.

        Args:
            context: of the gate.
            pending: knows which batches were applied: they go with the copy, so that none is applied twice.
            updates: since the last copy that are enough; None for the usual number.
        """
        version, now = self._learner.weights.version, context.now()
        if version - self._copied < (updates or self._every) or now < self._not_before or self._conductor is None:
            return
        self._copied = version
        try:
            state = self._learner.state(whole=True, random=False)
        except Exception as error:  # noqa: BLE001 - a `state_dict` may raise anything
            self._not_before = inf
            self._conductor.tell(NoCopy(context.me, error))
            return
        # A copy with NaN or infinities would end every restart in the same failure.
        if all_finite(flatten((state.weights, state.rest))[0]):
            self._conductor.tell(Copy(context.me, state, pending.applied))
        else:
            logger.warning("%s has weights that are not finite; its copy before that is kept", context.me.name)
        took = context.now() - now
        self._not_before = now + took / self._share
