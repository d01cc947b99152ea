"""Copies the gates of a running network: as they are, or while no batch is in flight."""

from functools import partial

from akkordeon.actor import Engine, Inbox, Ref
from akkordeon.conductor import requests
from akkordeon.errors import ActorFailed, NoAnswer, SaveFailed
from akkordeon.messages.states import GateState, StateOf
from akkordeon.network.waiting import wait_until
from akkordeon.saving import Saved, packages

RESTART_TIMEOUT = 30.0
"""Seconds that a gate has to be restarted, while others wait for its state."""


class GateCopies:
    """Takes copies of the gates.

    Args:
        engine: of the network.
        conductor: of the network.
        timeout: seconds that gates and the conductor have for an answer.
    """

    def __init__(self, engine: Engine, conductor: Ref, timeout: float) -> None:
        self._engine = engine
        self._conductor = conductor
        self._timeout = timeout

    def take(self, *, whole: bool = False) -> tuple[GateState, ...]:
        """Return the states of all gates, one after the other.

        Args:
            whole: with all that it takes to resume.

        Raises:
            NoAnswer: a gate has not been restarted in time.
            SaveFailed: a gate cannot be copied; says which, and why.
        """
        states = wait_until(self._engine, partial(self._now, whole=whole), seconds=RESTART_TIMEOUT, pause=0.05)
        if states is None:
            raise NoAnswer(f"a gate has not been restarted within {RESTART_TIMEOUT:g} s")
        return states

    def take_paused(self, inbox: Inbox, timeout: float) -> Saved:
        """Return copies of the gates, taken while no training batch is in flight.

        Args:
            inbox: for the answer; is closed.
            timeout: seconds that the batches in flight have.

        Raises:
            NoAnswer: batches are still in flight, or gates took too long.
        """
        try:
            self._conductor.tell(requests.Pause(inbox.ref, timeout))
            paused: requests.Paused = inbox.take(timeout=timeout)
            if paused.error is not None:
                raise paused.error
            states = self.take(whole=True)
        except NoAnswer as error:
            text = f"the network could not be saved: batches are still in flight after {timeout:g} s"
            raise NoAnswer(text) from error
        finally:
            inbox.close()
            stood_still = self._conductor.ask(requests.Resume(inbox.ref), timeout=self._timeout)
        if not stood_still:
            raise NoAnswer("could not save the network: its gates took too long to be copied")
        return Saved(states, paused.positions, packages())

    def _now(self, *, whole: bool) -> tuple[GateState, ...] | None:
        """Return the states of all gates; None while one of them is being restarted."""
        roster: requests.Roster = self._conductor.ask(requests.Who(), timeout=self._timeout)
        if roster.cause is not None:
            raise roster.cause
        if len(roster.gates) < len(roster.chain):
            return None
        try:
            return tuple(self._copy(ref, whole=whole) for ref in roster.gates)
        except ActorFailed:
            return None  # the gate has ended since the conductor answered, which restarts it

    def _copy(self, ref: Ref, *, whole: bool) -> GateState:
        state: GateState | Exception = ref.ask(StateOf(whole), timeout=self._timeout)
        if isinstance(state, Exception):
            raise SaveFailed(f"{ref.name} cannot be copied: {type(state).__name__}: {state}") from state
        return state
