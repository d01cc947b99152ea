"""A running network, as users hold it: attach and detach sentinels, watch, look at it, take the model out, close."""

import itertools
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from akkordeon.actor import Ended, Engine, Inbox, Ref
from akkordeon.conductor import Attach, Conductor, Detach, Detached, Open, Roster, Subscribe, Unsubscribe, Who
from akkordeon.engines import Threads
from akkordeon.errors import ActorFailed, AkkordeonError, NoAnswer, WiringError
from akkordeon.events import Departure, Failure, Notice, Report, Status
from akkordeon.gate import Gate, check_chain, own_copy
from akkordeon.messages import Connect, StateOf, StatusOf, Wire
from akkordeon.sentinel import Sentinel

__all__ = ["Network", "launch"]

ANSWER = 30.0
"""Seconds that gates, sentinels and the conductor have for an answer. They give it between two turns."""

LOOK = 5.0
"""Seconds without news after which a watcher looks whether the conductor still answers."""


def launch(gates: Sequence[Gate], *, engine: Engine | None = None) -> "Network":
    """Start a network of gates, wired in the order given.

    Args:
        gates: descriptions; each gate trains a copy of its module.
        engine: where the actors run; the network closes it. Default: `Threads()`, in this process.

    Raises:
        WiringError: the gates cannot be wired together; says why.
        ActorFailed: a gate could not be started.
    """
    check_chain(gates)
    engine = engine or Threads()
    try:
        name = f"network-{os.urandom(4).hex()}"
        conductor = engine.spawn("conductor", lambda: Conductor(name, gates))
        refs: tuple[Ref, ...] = conductor.ask(Open(), timeout=ANSWER)
        neighbours = [None, *refs, None]
        for upstream, ref, downstream in zip(neighbours, refs, neighbours[2:], strict=False):
            # Asked, not told: it fails if the gate could not be made, and is done before any batch can come.
            ref.ask(Connect(Wire(upstream, downstream)), timeout=ANSWER)
    except BaseException:
        engine.close()
        raise
    return Network(gates, engine, conductor)


class Network:
    """An open chain of gates that sentinels join and leave. `launch` makes one; use it in a `with` block."""

    def __init__(self, gates: Sequence[Gate], engine: Engine, conductor: Ref) -> None:
        self._gates = tuple(gates)
        self._engine = engine
        self._conductor = conductor
        self._seen = 0
        self._inboxes = itertools.count(1)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def attach(self, sentinel: Sentinel) -> None:
        """Let a sentinel join the running network; it begins at once.

        Raises:
            WiringError: a sentinel of that name is attached, or the network has failed.
        """
        if not isinstance(sentinel, Sentinel):
            kinds = "a TrainingSentinel, ValidationSentinel or TestSentinel"
            raise WiringError(f"a {type(sentinel).__name__} cannot join a network; attach {kinds}")
        refusal = self._ask(self._conductor, Attach(sentinel))
        if isinstance(refusal, Exception):
            raise refusal

    def detach(self, name: str, *, timeout: float = 60.0) -> None:
        """Let a sentinel leave: it sends nothing new, and this returns when its batches in flight are through.

        Of a sentinel that has ended or left there is nothing to do.

        Raises:
            NoAnswer: it did not get through in `timeout` seconds.
        """
        inbox = self._inbox()
        try:
            self._conductor.tell(Detach(name, inbox.ref))
            while not isinstance(inbox.take(timeout=timeout), Detached):
                pass
        except NoAnswer:
            raise NoAnswer(f"sentinel {name!r} still has batches in flight after {timeout:g} s") from None
        finally:
            inbox.close()

    def watch(self) -> Iterator[Report]:
        """Yield one report per epoch of any sentinel, as it comes.

        Ends when every sentinel that has an end has ended, or none is attached; goes on for ever if none has an end.
        Called again, it goes on where it stopped: nothing is missed, nothing comes twice.

        Raises:
            AkkordeonError: a sentinel or the network has failed. Where only a sentinel has, the others go on, and so
                may you: call `watch` again.
        """
        inbox = self._inbox()
        self._engine.watch(self._conductor, inbox.ref)
        self._conductor.tell(Subscribe(inbox.ref, self._seen))
        up_to_date = ended_some = False
        try:
            while True:
                notice = self._next_notice(inbox)
                self._seen = max(self._seen, notice.number)
                match notice.event:
                    case Report():
                        yield notice.event
                    case Failure(error):
                        raise error
                    case Departure(_, had_end):
                        ended_some = ended_some or had_end
                up_to_date = up_to_date or notice.number == 0  # what came before tells who was attached then
                if up_to_date and not notice.ending and (ended_some or not notice.attached):
                    return
        finally:
            self._conductor.tell(Unsubscribe(inbox.ref))
            inbox.close()

    def status(self) -> Status:
        """Return how gates and sentinels stand.

        Raises:
            NoAnswer: one of them did not answer within 30 s.
        """
        roster: Roster = self._ask(self._conductor, Who())
        return Status(
            state="open" if roster.cause is None else "failed",
            cause=roster.cause,
            gates=tuple(self._answers(roster.gates, StatusOf())),
            sentinels=tuple(self._answers(roster.sentinels, StatusOf())),
        )

    def model(self) -> nn.Sequential:
        """Return the network as an ordinary `nn.Sequential` of copies of the gates' modules, named as the gates are.

        Each gate is copied as it stands when asked; while training goes on they may be of different versions.

        Raises:
            ActorFailed: a gate has failed.
        """
        roster: Roster = self._ask(self._conductor, Who())
        if roster.cause is not None:
            raise roster.cause
        model = nn.Sequential()
        for gate, ref in zip(self._gates, roster.gates, strict=True):
            state = self._ask(ref, StateOf())
            module = own_copy(gate.module)
            with torch.no_grad():
                for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers()):
                    tensor.copy_(state[name])
            model.add_module(gate.name, module)
        return model

    def close(self) -> None:
        """End all sentinels and gates, and the engine. Batches in flight are dropped: detach first to let them through.

        Calling it again does nothing.
        """
        if not self._closed:
            self._closed = True
            self._engine.close()

    def _next_notice(self, inbox: Inbox) -> Notice:
        while True:
            try:
                message = inbox.take(timeout=LOOK)
            except NoAnswer:
                self._ask(self._conductor, Who())
                continue
            if isinstance(message, Notice):
                return message
            if isinstance(message, Ended):
                raise ActorFailed(f"the conductor has ended: {message.reason!r}") from message.reason

    def _answers(self, refs: Sequence[Ref], question: object) -> Iterator[Any]:
        for ref in refs:
            try:
                yield self._ask(ref, question)
            except ActorFailed:
                continue  # it ended since the conductor was asked

    def _inbox(self) -> Inbox:
        self._check_open()
        return self._engine.inbox(f"inbox {next(self._inboxes)}")

    def _check_open(self) -> None:
        if self._closed:
            raise AkkordeonError("the network is closed; launch a new one")

    def _ask(self, ref: Ref, question: object) -> Any:
        self._check_open()
        return ref.ask(question, timeout=ANSWER)
