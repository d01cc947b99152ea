"""A running network: attach and detach sentinels, watch, read the status, get the model, save, close."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self, cast

from torch import Tensor, nn

from akkordeon.actor import Engine, Inbox, Ref
from akkordeon.conductor import requests
from akkordeon.conductor.handshake import Handshake
from akkordeon.errors import ActorFailed, AkkordeonError, NoAnswer, WiringError
from akkordeon.gate.description import Gate, own_copy
from akkordeon.gate.parameters import fill
from akkordeon.messages.reports import Changed, Report, SavedTo, Status
from akkordeon.messages.states import StatusOf
from akkordeon.network.best import Best
from akkordeon.network.copying import GateCopies
from akkordeon.network.recording import Recorder
from akkordeon.network.viewing import ANSWER_TIMEOUT, Viewed
from akkordeon.network.watching import EventStream
from akkordeon.saving import write, write_weights
from akkordeon.saving.restore import chained
from akkordeon.sentinel.description import Sentinel
from akkordeon.tensors import refuse_autocast


class Network(Viewed):
    """An open chain of gates that sentinels join and leave. `launch` makes one; use it in a `with` block.

    One that `connect` joined works in the same way, but has no `model`. Closing it ends what was attached from here.

    Attributes:
        best: what `launch(keep_best=...)` has kept; None without.
    """

    def __init__(
        self,
        gates: Sequence[Gate],
        engine: Engine,
        conductor: Ref,
        *,
        seen: int = 0,
        recorder: Recorder | None = None,
        best: Best | None = None,
    ) -> None:
        self._gates = tuple(gates)
        self.engine = engine
        self.conductor = conductor
        self._events = EventStream(conductor, self._check_conductor, seen)
        self._inboxes = itertools.count(1)
        self._recorder = recorder
        self._pages = []
        self.best = best
        self._pausing: Inbox | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def is_closing(self) -> bool:
        """Whether a user has asked for the network to be closed, as far as `watch` was read."""
        return self._events.is_closing

    def attach(self, sentinel: Sentinel, handshake: Handshake | None = None) -> None:
        """Let a sentinel join the running network; it begins at once, on this machine.

        Args:
            sentinel: describes it.
            handshake: of this process, with its recipe and data; the network compares it with its own.

        Raises:
            WiringError: a sentinel of that name is attached, the handshakes differ, no batch in flight is left for it,
                or the network has failed.
        """
        refuse_autocast("attach")
        if not isinstance(sentinel, Sentinel):
            kinds = "a TrainingSentinel, ValidationSentinel or TestSentinel"
            raise WiringError(f"a {type(sentinel).__name__} cannot join a network; attach {kinds}")
        here = next(iter(self.engine.places()), None)
        refusal = self._ask(self.conductor, requests.Attach(sentinel, here, handshake))
        if isinstance(refusal, Exception):
            raise refusal

    def detach(self, name: str, *, timeout: float = 60.0) -> None:
        """Let a sentinel leave: it sends nothing new, and this returns when its batches in flight are done.

        Does nothing for a sentinel that has ended or left.

        Raises:
            ActorNotFound: no sentinel of that name was ever attached; lists those that are.
            NoAnswer: some batches are still in flight after `timeout` seconds.
        """
        with closing(self._inbox()) as inbox:
            self.conductor.tell(requests.Detach(name, inbox.ref))
            try:
                detached: requests.Detached = inbox.take(timeout=timeout)
            except NoAnswer:
                raise NoAnswer(f"sentinel {name!r} still has batches in flight after {timeout:g} s") from None
        if detached.error is not None:
            raise detached.error

    def set(self, name: str, /, **settings: object) -> None:
        """Change settings of a sentinel or a gate while the network runs: all that are given, or none.

        They take effect as soon as the sentinel or gate receives them, and survive its restart. The descriptions of
        sentinels and gates do not change: a sentinel that is attached again begins as described.

        Args:
            name: of a sentinel or a gate.
            settings: of a sentinel, `in_flight`: `network.set("train", in_flight=1)` trains synchronously from now on,
                once all but one of the batches in flight are back. Of a gate, any number that its optimizer has for
                each group of parameters, such as `lr`, `momentum` or `weight_decay`: `network.set("stem", lr=0.01)`
                sets it in all groups. A scheduler continues from a new `lr`: its later rates are scaled likewise.

        Raises:
            ActorNotFound: no gate or sentinel has that name; lists all.
            WiringError: there is no such setting, or its value is invalid, such as more batches in flight than
                `max_staleness` and `capacity` leave; lists which sentinels hold them.
        """
        refusal = self._ask(self.conductor, requests.Set(name, settings))
        if isinstance(refusal, Exception):
            raise refusal

    def pause(self, *, timeout: float = 60.0) -> None:
        """Let training stand still until `go_on`, or until this network is closed; validations continue.

        Returns when no training batch is in flight.

        Raises:
            NoAnswer: some are still in flight after `timeout` seconds; training goes on.
            AkkordeonError: it is paused or being saved already.
        """
        inbox = self._inbox()
        try:
            self.conductor.tell(requests.Pause(inbox.ref, None))
            paused: requests.Paused = inbox.take(timeout=timeout)
            if paused.error is not None:
                raise paused.error
        except BaseException:
            inbox.close()  # which ends the pause, if there is one
            raise
        self._pausing = inbox
        self.conductor.tell(Changed("training", {"paused": True}))

    def go_on(self) -> None:
        """Let training go on after `pause`; otherwise, do nothing."""
        pausing, self._pausing = self._pausing, None
        if pausing is not None:
            self._ask(self.conductor, requests.Resume(pausing.ref))
            pausing.close()
            self.conductor.tell(Changed("training", {"paused": False}))

    def watch(self, sentinel: str | None = None, *, forever: bool = False) -> Iterator[Report]:
        """Yield one report per epoch of any sentinel, as it comes.

        Ends when every sentinel that has an end has ended, or none is attached, or a user asked for the network to be
        closed; if no sentinel has an end, it goes on forever. Called again, it continues where it stopped: it misses no
        report, and yields none twice.

        Args:
            sentinel: yield reports of this one only, until it has left.
            forever: continue while no sentinel is attached, until a user asks for the network to be closed.

        Raises:
            AkkordeonError: a sentinel or the network has failed. If only a sentinel has, the others continue: call
                `watch` again.
        """
        with closing(self._inbox()) as inbox:
            self.engine.watch(self.conductor, inbox.ref)
            for report in self._events.reports(inbox, sentinel, forever=forever):
                if self.best is not None:
                    self.best.take(report, self.save, self._end_training)
                yield report

    def _end_training(self) -> None:
        for each in self.status().sentinels:
            if each.kind == "train":
                self.detach(each.name)

    def status(self) -> Status:
        """Return the progress of all gates and sentinels.

        Raises:
            NoAnswer: one of them did not answer within 30 s.
        """
        roster = self._roster()
        return Status(
            state="open" if roster.cause is None else "failed",
            cause=roster.cause,
            gates=tuple(self._answers(roster.gates, StatusOf())),
            sentinels=tuple(self._answers(roster.sentinels, StatusOf())),
            restarts=roster.restarts,
        )

    def attached(self) -> tuple[str, ...]:
        """Return the names of the sentinels that are attached."""
        return self._roster().attached

    def cause(self) -> Exception | None:
        """Return why the network has failed; None if it has not."""
        return self._roster().cause

    def model(self) -> nn.Sequential:
        """Return the network as an ordinary `nn.Sequential` of copies of the gates' modules, named as the gates are.

        Gates are copied one after the other, so they may be of different versions while training goes on.

        Raises:
            WiringError: this network was joined; the modules of its gates are in the process that launched it.
            ActorFailed: a gate has failed.
        """
        if not self._gates:
            raise WiringError("a network that was joined has no modules: use state_dict(), or load() a save")
        modules = [own_copy(gate.module) for gate in self._gates]
        for module, state in zip(modules, self._copies().take(), strict=True):
            fill(module, {**state.weights, **state.rest["buffers"]})
        return chained(self._gates, modules)

    def save(self, folder: Path | str, *, timeout: float = 60.0) -> Path:
        """Save everything needed to resume: see `launch(resume=...)`, `load` and `export`.

        Training pauses until no batch is in flight and the gates are copied, so that all gates have learned from the
        same batches; it continues while the copies are written.

        Args:
            folder: gets a new version each time; the last three are kept.
            timeout: seconds that the batches in flight have.

        Returns:
            The path of the new version.

        Raises:
            SaveFailed: it could not be written; earlier versions are intact.
            NoAnswer: some batches were still in flight after `timeout` seconds.
            ActorFailed: a gate has failed.
        """
        path = write(self._copies().take_paused(self._inbox(), timeout), Path(folder))
        self.conductor.tell(SavedTo(str(path)))
        return path

    def export(self, file: Path | str) -> None:
        """Write the weights, by their names in the whole network, as one plain safetensors file.

        Raises:
            SaveFailed: it could not be written; an earlier file is intact.
            ActorFailed: a gate has failed.
        """
        write_weights(self.state_dict(), Path(file))

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the weights and buffers, by their names in the whole network.

        A model that `split` has cut can load them: `model.load_state_dict(network.state_dict())`.

        Raises:
            ActorFailed: a gate has failed.
        """
        return {state.prefix + name: each for state in self._copies().take() for name, each in state.weights.items()}

    def _copies(self) -> GateCopies:
        self._check_open()
        return GateCopies(self.engine, self.conductor, ANSWER_TIMEOUT)

    def close(self) -> None:
        """End all sentinels and gates, and the engine; again, do nothing. Detach first to finish batches in flight."""
        if not self._closed:
            self._closed = True
            self._close_views()
            self.engine.close()

    def end(self) -> None:
        """Ask the process that launched the network to close it: there, `watch` ends."""
        self._ask(self.conductor, requests.Close())

    def _check_conductor(self) -> None:
        """Raise `NoAnswer` with what the engine is doing if the conductor does not answer."""
        try:
            self._roster()
        except NoAnswer as error:
            error.add_note(self.engine.look())
            raise

    def _answers(self, refs: Sequence[Ref], question: object) -> Iterator[Any]:
        for ref in refs:
            try:
                yield self._ask(ref, question)
            except ActorFailed:
                continue  # it has ended since the conductor answered

    def _roster(self) -> requests.Roster:
        return cast(requests.Roster, self._ask(self.conductor, requests.Who()))

    def _inbox(self) -> Inbox:
        self._check_open()
        return self.engine.inbox(f"inbox {next(self._inboxes)}")

    def _check_open(self) -> None:
        if self._closed:
            raise AkkordeonError("the network is closed; launch a new one")

    def _ask(self, ref: Ref, question: object) -> Any:
        self._check_open()
        return ref.ask(question, timeout=ANSWER_TIMEOUT)
