"""Copies of a gate that outlive it: when to make one, and what may be in it."""

import logging
from math import inf
from typing import Any

from akkordeon.actor import Context, Ref
from akkordeon.gate.learner import Learner
from akkordeon.gate.pending import PendingBatches
from akkordeon.messages.leases import Copy, NoCopy
from akkordeon.messages.tree import flatten
from akkordeon.tensors import all_finite

logger = logging.getLogger(__name__)


class Copies:
    """Hands copies of a gate over to the conductor, once per so many updates, as long as that is cheap.

    Args:
        learner: of the gate.
        every: updates.
        share: of its time that the gate may take for it.
    """

    def __init__(self, learner: Learner, every: int, share: float) -> None:
        self._learner = learner
        self._every = every
        self._share = share
        self._conductor: Ref | None = None
        self._copied = learner.weights.version
        self._not_before = -inf

    def to(self, conductor: Ref) -> None:
        """Hand over to this conductor; a new one has nothing yet."""
        if self._conductor is not None and conductor != self._conductor:
            self._not_before, self._copied = -inf, -self._every
        self._conductor = conductor

    def maybe(self, context: Context, entries: PendingBatches[Any], updates: int | None = None) -> None:
        """Hand over a copy, if it is time: after so many updates, None for the usual number."""
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
        if all_finite(flatten((state.weights, state.rest))[0]):
            self._conductor.tell(Copy(context.me, state, entries.applied))
        else:
            logger.warning("%s has weights that are not finite; it keeps the copy before", context.me.name)
        took = context.now() - now
        self._not_before = now + took / self._share
