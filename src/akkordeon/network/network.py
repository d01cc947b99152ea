"""A running network, as users hold it: attach and detach sentinels, watch, look at it, take the model out, close."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn

from akkordeon.actor import Ended, Engine, Inbox, Ref
from akkordeon.conductor.handshake import Handshake
from akkordeon.conductor.requests import (
    Attach,
    Close,
    Detach,
    Detached,
    Pause,
    Paused,
    Resume,
    Roster,
    Set,
    Subscribe,
    Unsubscribe,
    Who,
)
from akkordeon.errors import ActorFailed, AkkordeonError, NoAnswer, SaveFailed, WiringError
from akkordeon.gate.description import Gate, own_copy
from akkordeon.gate.parameters import fill
from akkordeon.messages.reports import Closing, Notice, Report, Status
from akkordeon.messages.states import GateState, StateOf, StatusOf
from akkordeon.network.watching import View
from akkordeon.saving import Saved, packages, write, write_weights
from akkordeon.saving.restore import chained
from akkordeon.sentinel.description import Sentinel

ANSWER = 30.0
"""Seconds that gates, sentinels and the conductor have for an answer. They give it between two turns."""

PAUSE, RETRIES = 0.05, 600
"""Seconds between two looks whether a gate has been restarted, and how often to look."""

LOOK = 5.0
"""Seconds without news after which a watcher looks whether the conductor still answers."""


class Network:
    """An open chain of gates that sentinels join and leave. `launch` makes one; use it in a `with` block.

    One that was joined by `connect` is used in the same way; `model` alone cannot be had there. Closing it then ends
    what was attached from here, and nothing else.

    Attributes:
        is_closing: whether somebody has asked for it to be closed, as far as `watch` has come.
    """

    def __init__(self, gates: Sequence[Gate], engine: Engine, conductor: Ref, *, seen: int = 0) -> None:
        self._gates = tuple(gates)
        self.engine = engine
        self.conductor = conductor
        self._seen = seen
        self._missed = -1  # the latest event after which some were lost
        self.is_closing = False
        self._inboxes = itertools.count(1)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def attach(self, sentinel: Sentinel, papers: Handshake | None = None) -> None:
        """Let a sentinel join the running network; it begins at once, on this machine.

        Args:
            sentinel: describes it.
            papers: what its recipe and its data are like, to be compared with the network's.

        Raises:
            WiringError: a sentinel of that name is attached, or the network has failed.
        """
        if not isinstance(sentinel, Sentinel):
            kinds = "a TrainingSentinel, ValidationSentinel or TestSentinel"
            raise WiringError(f"a {type(sentinel).__name__} cannot join a network; attach {kinds}")
        here = next(iter(self.engine.places()), None)
        refusal = self._ask(self.conductor, Attach(sentinel, here, papers))
        if isinstance(refusal, Exception):
            raise refusal

    def detach(self, name: str, *, timeout: float = 60.0) -> None:
        """Let a sentinel leave: it sends nothing new, and this returns when its batches in flight are through.

        Of a sentinel that has ended or left there is nothing to do.

        Raises:
            ActorNotFound: no sentinel of that name was ever attached; lists those that are.
            NoAnswer: it did not get through in `timeout` seconds.
        """
        inbox = self._inbox()
        try:
            self.conductor.tell(Detach(name, inbox.ref))
            detached: Detached = inbox.take(timeout=timeout)
            if detached.error is not None:
                raise detached.error
        except NoAnswer:
            raise NoAnswer(f"sentinel {name!r} still has batches in flight after {timeout:g} s") from None
        finally:
            inbox.close()

    def set(self, name: str, /, **settings: object) -> None:
        """Change settings of a sentinel or a gate while the network runs: all that are given, or none.

        They hold from the moment that the sentinel or gate hears of them, and survive its restart. What was attached or
        launched is not changed: one that is attached again begins as it is described.

        Args:
            name: of a training or other sentinel, or of a gate.
            settings: of a sentinel `in_flight`: `network.set("train", in_flight=1)` trains synchronously from now on,
                once what is in flight beyond that has come back. Of a gate whatever numbers its optimizer has for each
                group of parameters, such as `lr`, `momentum` or `weight_decay`: `network.set("stem", lr=0.01)`, for
                all groups. A scheduler goes on from a new `lr`: all that is still to come is scaled as the present rate
                is.

        Raises:
            ActorNotFound: nobody has that name; lists gates and sentinels.
            WiringError: a setting that there is not, or a value that cannot be: more batches in flight than
                `max_staleness` and `capacity` leave, say; tells who holds them.
        """
        refusal = self._ask(self.conductor, Set(name, settings))
        if isinstance(refusal, Exception):
            raise refusal

    def watch(self, sentinel: str | None = None, *, forever: bool = False) -> Iterator[Report]:
        """Yield one report per epoch of any sentinel, as it comes.

        Ends when every sentinel that has an end has ended, or none is attached, or somebody asked for the network to be
        closed; goes on for ever if none has an end. Called again, it goes on where it stopped: nothing is missed,
        nothing comes twice.

        Args:
            sentinel: look at that one only, until it has left.
            forever: go on whoever is attached, until somebody asks for the network to be closed.

        Raises:
            AkkordeonError: a sentinel or the network has failed. Where only a sentinel has, the others go on, and so
                may you: call `watch` again.
        """
        inbox = self._inbox()
        self.engine.watch(self.conductor, inbox.ref)
        self.conductor.tell(Subscribe(inbox.ref, self._seen))
        view = View(sentinel, forever=forever)
        try:
            while not view.over:
                notice = self._next_notice(inbox)
                if notice.number and not self._is_next(notice.number, inbox):
                    continue
                self._seen = max(self._seen, notice.number)
                self.is_closing = self.is_closing or isinstance(notice.event, Closing)
                if (report := view.take(notice)) is not None:
                    yield report
        finally:
            self.conductor.tell(Unsubscribe(inbox.ref))
            inbox.close()

    def status(self) -> Status:
        """Return how gates and sentinels stand.

        Raises:
            NoAnswer: one of them did not answer within 30 s.
        """
        roster: Roster = self._ask(self.conductor, Who())
        return Status(
            state="open" if roster.cause is None else "failed",
            cause=roster.cause,
            gates=tuple(self._answers(roster.gates, StatusOf())),
            sentinels=tuple(self._answers(roster.sentinels, StatusOf())),
            restarts=roster.restarts,
        )

    def attached(self) -> tuple[str, ...]:
        """Return the names of the sentinels that are attached."""
        roster: Roster = self._ask(self.conductor, Who())
        return roster.attached

    def cause(self) -> Exception | None:
        """Return why the network has failed; None if it has not."""
        roster: Roster = self._ask(self.conductor, Who())
        return roster.cause

    def model(self) -> nn.Sequential:
        """Return the network as an ordinary `nn.Sequential` of copies of the gates' modules, named as the gates are.

        Each gate is copied as it stands when asked; while training goes on they may be of different versions.

        Raises:
            WiringError: this network was joined, and its gates' modules are with who launched it.
            ActorFailed: a gate has failed.
        """
        if not self._gates:
            raise WiringError("a network that was joined knows no modules: use state_dict(), or load() what was saved")
        modules = [own_copy(gate.module) for gate in self._gates]
        for module, state in zip(modules, self._states(), strict=True):
            fill(module, {**state.weights, **state.rest["buffers"]})
        return chained(self._gates, modules)

    def save(self, folder: Path | str, *, timeout: float = 60.0) -> Path:
        """Save all that it takes to go on from here: see `launch(resume=...)`, `load` and `export`.

        Training pauses until the batches in flight are through and the gates are copied, so that all gates have learned
        from the same batches; it goes on while the copies are written.

        Args:
            folder: gets a new version each time; the last three are kept.
            timeout: seconds that the batches in flight have.

        Returns:
            Where the new version is.

        Raises:
            SaveFailed: it could not be written; earlier versions are as they were.
            NoAnswer: the batches in flight did not get through in time.
            ActorFailed: a gate has failed.
        """
        return write(self._paused(timeout), Path(folder))

    def export(self, file: Path | str) -> None:
        """Write the weights, by their names in the whole network, as one plain safetensors file.

        Raises:
            SaveFailed: it could not be written; what was there before is as it was.
            ActorFailed: a gate has failed.
        """
        write_weights(self.state_dict(), Path(file))

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the weights and buffers, by their names in the whole network.

        Those of a model that `split` has cut are the model's own: `model.load_state_dict(network.state_dict())`.

        Raises:
            ActorFailed: a gate has failed.
        """
        return {state.prefix + name: each for state in self._states() for name, each in state.weights.items()}

    def _states(self, *, whole: bool = False) -> tuple[GateState, ...]:
        for _ in range(RETRIES):
            roster: Roster = self._ask(self.conductor, Who())
            if roster.cause is not None:
                raise roster.cause
            if len(roster.gates) == len(roster.chain):
                try:
                    return tuple(self._state(ref, whole=whole) for ref in roster.gates)
                except ActorFailed:
                    pass  # it ended since the conductor was asked, which makes another one
            self._pause()
        raise NoAnswer(f"a gate is still being restarted after {RETRIES * PAUSE:g} s")

    def _state(self, ref: Ref, *, whole: bool) -> GateState:
        state: GateState | Exception = self._ask(ref, StateOf(whole))
        if isinstance(state, Exception):
            raise SaveFailed(f"{ref.name} cannot tell its state: {type(state).__name__}: {state}") from state
        return state

    def _pause(self) -> None:
        """Let some time pass, on the engine's clock."""
        inbox = self._inbox()
        with suppress(NoAnswer):
            inbox.take(timeout=PAUSE)
        inbox.close()

    def _paused(self, timeout: float) -> Saved:
        """Return copies of the gates, taken while no training batch is in flight."""
        inbox = self._inbox()
        try:
            self.conductor.tell(Pause(inbox.ref, timeout))
            paused: Paused = inbox.take(timeout=timeout)
            if paused.error is not None:
                raise paused.error
            states = self._states(whole=True)
        except NoAnswer as error:
            raise NoAnswer(
                f"the network could not be saved: batches are still in flight after {timeout:g} s"
            ) from error
        finally:
            inbox.close()
            stood_still = self._ask(self.conductor, Resume(inbox.ref))
        if not stood_still:
            raise NoAnswer("could not save the network: its gates took too long to be copied")
        return Saved(states, paused.positions, packages())

    def close(self) -> None:
        """End all sentinels and gates, and the engine. Batches in flight are dropped: detach first to let them through.

        Calling it again does nothing.
        """
        if not self._closed:
            self._closed = True
            self.engine.close()

    def end(self) -> None:
        """Ask whoever launched the network to close it: there, `watch` comes to its end."""
        self._ask(self.conductor, Close())

    def _next_notice(self, inbox: Inbox) -> Notice:
        while True:
            try:
                message = inbox.take(timeout=LOOK)
            except NoAnswer:
                self._check_conductor()
                self.conductor.tell(Subscribe(inbox.ref, self._seen))  # again: the news may have been lost
                continue
            if isinstance(message, Notice):
                return message
            if isinstance(message, Ended):
                raise ActorFailed(f"the conductor has ended: {message.reason!r}") from message.reason

    def _is_next(self, number: int, inbox: Inbox) -> bool:
        """Whether an event is news; where some before it were lost, ask for all of them, once."""
        if number > self._seen + 1 and self._missed != self._seen:
            self._missed = self._seen
            self.conductor.tell(Subscribe(inbox.ref, self._seen))
            return False
        return number > self._seen

    def _check_conductor(self) -> None:
        """See that the conductor still answers.

        Raises:
            NoAnswer: it does not, so nothing can be said of anybody but what the engine sees.
        """
        try:
            self._ask(self.conductor, Who())
        except NoAnswer as error:
            error.add_note(self.engine.look())
            raise

    def _answers(self, refs: Sequence[Ref], question: object) -> Iterator[Any]:
        for ref in refs:
            try:
                yield self._ask(ref, question)
            except ActorFailed:
                continue  # it ended since the conductor was asked

    def _inbox(self) -> Inbox:
        self._check_open()
        return self.engine.inbox(f"inbox {next(self._inboxes)}")

    def _check_open(self) -> None:
        if self._closed:
            raise AkkordeonError("the network is closed; launch a new one")

    def _ask(self, ref: Ref, question: object) -> Any:
        self._check_open()
        return ref.ask(question, timeout=ANSWER)
