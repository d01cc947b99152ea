"""What a conductor does for its gates: start, wire, lease, copy, replace.

A *term* is one wiring of the network. When a gate has ended, or is silent for longer than its lease, the term is over:
whatever of it is still on its way will be ignored. The next one begins when the gate has been made anew from its latest
copy, and every gate has been told its neighbours and has said so.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from akkordeon.actor import Context, Ref
from akkordeon.conductor.heartbeat import Heartbeat, Leases
from akkordeon.conductor.placement import Placement, lent
from akkordeon.conductor.state import Vault
from akkordeon.conductor.supervision import Supervision
from akkordeon.conductor.tuning import Tunings
from akkordeon.errors import ActorFailed, ActorNotFound, UpdateFailed
from akkordeon.gate.actor import GateActor
from akkordeon.gate.description import Gate
from akkordeon.messages.batches import BatchId
from akkordeon.messages.leases import Alive, Chain, Copy, Lease, NoCopy, Wire
from akkordeon.messages.states import GateState


@dataclass(frozen=True, slots=True)
class Restart:
    """From the conductor, to itself: it is time to make a gate anew, if its place is still empty."""

    gate: str


@dataclass(slots=True)
class _Post:
    """A place in the chain: the gate it is for, the actor that holds it, and what became of those before."""

    gate: Gate
    state: GateState | None
    actor: str
    pulse: Heartbeat | None = None
    deaths: deque[tuple[float, str]] = field(default_factory=deque)
    no_copy: Exception | None = None


class GateSupervisor:
    """The gates of a network, as its conductor sees them.

    Args:
        gates: descriptions.
        states: to begin with; empty to begin anew.
        settings: how to watch over them.
        vault: gets their copies.
        conductor: how many conductors there were.
        life: makes a gate that lives.
    """

    def __init__(
        self,
        gates: Sequence[Gate],
        states: Iterable[GateState],
        settings: Supervision,
        vault: Vault,
        conductor: int,
        life: Any = GateActor,
    ) -> None:
        self.term = 1
        self.cause: ActorFailed | None = None
        self.blame: BatchId | None = None
        self.restarts = 0
        self.attendance = Leases()
        self.placement = Placement()
        self.tunings = Tunings(gates)
        self._settings = settings
        self._vault = vault
        self._life = life
        self._numbers = ((conductor, number) for number in itertools.count(1))
        self._posts = [_Post(gate, state, f"gate {gate.name}") for gate, state in itertools.zip_longest(gates, states)]
        self._opened = 0  # the latest term that batches could be sent in
        self.retired: list[Ref] = []  # gates and sentinels that are to end, and may be out of reach

    @property
    def refs(self) -> tuple[Ref, ...]:
        """The gates that live, in the order of the chain."""
        return tuple(post.pulse.ref for post in self._posts if post.pulse is not None)

    @property
    def actors(self) -> tuple[tuple[str, str], ...]:
        """Names of all gates, and of the actors that they are or will be."""
        return tuple((post.gate.name, post.actor) for post in self._posts)

    @property
    def chain(self) -> Chain | None:
        """Where batches go; None while there is no way through."""
        wired = all(post.pulse is not None and post.pulse.term == self.term for post in self._posts)
        if not wired or self.cause is not None:
            return None
        return Chain(self.refs[0], self.refs[-1], tuple(post.gate.name for post in self._posts))

    def open(self, context: Context) -> None:
        """Start all gates."""
        for post in self._posts:
            self._start(post, context)

    def reopen(self, actors: dict[str, str], term: int, context: Context) -> Iterable[str]:
        """Go on with the gates that another conductor has left; return the names of those that are not there."""
        self.term = term
        for post in self._posts:
            post.actor = actors[post.gate.name]
            try:
                ref = context.find(post.actor)
            except ActorNotFound:
                yield post.gate.name
                continue
            context.watch(ref, context.me)
            post.pulse = Heartbeat(ref, context.now())

    def find_retired(self, names: Iterable[str], context: Context) -> None:
        """Go on ending those that another conductor was about to end."""
        for name in names:
            with suppress(ActorNotFound):
                ref = context.find(name)
                context.watch(ref, context.me)
                self.retired.append(ref)

    def _start(self, post: _Post, context: Context) -> None:
        copy = self._vault.copies.get(post.gate.name)
        begin = (post.state, ()) if copy is None else (copy.state, copy.applied)
        make = partial(self._life, post.gate, *begin, self._settings.copying)
        ref = self._spawn(post, make, context)
        context.watch(ref, context.me)
        post.pulse = Heartbeat(ref, context.now())

    def _spawn(self, post: _Post, make: Any, context: Context) -> Ref:
        gates = [each.gate for each in self._posts]
        place = self.placement.places(gates, lent(context.places()))[post.gate.name]
        spawn = partial(context.spawn, post.actor, make, computations=post.gate.at_once)
        try:
            return spawn(place=place)
        except (ActorNotFound, ActorFailed):  # the host has gone just now
            return spawn()

    # Signs of life

    def lease(self, context: Context) -> None:
        """Tell every gate all that it has to know."""
        refs = self.refs
        neighbours: list[Ref | None] = [None, *refs, None]
        complete = len(refs) == len(self._posts)
        there = [(post.gate.name, post.pulse) for post in self._posts if post.pulse is not None]
        for (gate, pulse), upstream, downstream in zip(there, neighbours, neighbours[2:], strict=False):
            self._grant(gate, pulse, Wire(upstream, downstream) if complete else None, context)

    def _grant(self, gate: str, pulse: Heartbeat, wire: Wire | None, context: Context) -> None:
        lease = Lease(
            number=next(self._numbers),
            conductor=context.me,
            answers=pulse.number,
            seconds=self._settings.lease,
            term=self.term,
            wire=wire,
            attached=self.attendance.attached,
            newest=self.attendance.newest,
            max_staleness=self.attendance.max_staleness,
            settings=self.tunings.of(gate),
        )
        pulse.missed += 1
        pulse.ref.tell(lease)

    def alive(self, sign: Alive, context: Context) -> None:
        """Take in a sign of life of a gate."""
        for post in self._posts:
            if post.pulse is not None and self._holds(post, sign.actor) and post.pulse.beat(sign, context.now()):
                self.lease(context)
        if self.chain is not None:
            self._opened = self.term

    def copied(self, copy: Copy | NoCopy) -> None:
        """Keep a copy of a gate; those of gates that were replaced come too late, as do those that were overtaken."""
        for post in self._posts:
            if self._holds(post, copy.actor):
                if isinstance(copy, NoCopy):
                    post.no_copy = copy.error
                elif self._is_newest(copy):
                    self._vault.put(copy)

    def _is_newest(self, copy: Copy) -> bool:
        before = self._vault.copies.get(copy.state.name)
        return before is None or copy.state.version >= before.state.version

    def _holds(self, post: _Post, actor: Ref) -> bool:
        return post.pulse is not None and post.pulse.ref == actor

    # Ends

    def tick(self, context: Context) -> list[str]:
        """Ask all gates for a sign of life; return the names of those that are silent."""
        for ref in self.retired:
            context.stop(ref)  # again: it may have been out of reach
        now = context.now()
        silent = [p.gate.name for p in self._posts if p.pulse is not None and p.pulse.is_silent(now, self._settings)]
        self.lease(context)
        return silent

    def ended(self, actor: Ref) -> str | None:
        """Return the name of the gate that an actor was, if it was one of the present ones; its place is empty now."""
        self.retired = [ref for ref in self.retired if ref != actor]
        for post in self._posts:
            if self._holds(post, actor):
                post.pulse = None
                return post.gate.name
        return None

    def retire(self, gate: str, reason: BaseException | None, context: Context) -> float | None:
        """Take a gate from its place, which ends the term; return after how long to make it anew, None for never."""
        post, now = self._post(gate), context.now()
        if self._opened == self.term:
            self.blame = _blame(reason)
        if post.pulse is not None:
            context.stop(post.pulse.ref)
            self.retired.append(post.pulse.ref)
            post.pulse = None
        self.term = self._next_term()
        post.actor = f"gate#{self.term} {gate}"
        if post.state is not None:  # only a network that is resumed draws its random numbers again
            post.state = replace(post.state, rest={k: v for k, v in post.state.rest.items() if k != "random"})
        settings = self._settings
        while post.deaths and post.deaths[0][0] <= now - settings.within:
            post.deaths.popleft()
        before = len(post.deaths)
        post.deaths.append((now, _told(reason)))
        if post.no_copy is not None or not self._may_restart(before):
            self.cause = self._failure(post, reason)
            return None
        return settings.backoff[min(before, len(settings.backoff) - 1)]

    def _next_term(self) -> int:
        return self.term + 1

    def _may_restart(self, before: int) -> bool:
        return before < self._settings.restarts

    def plan(self, gate: str, wait: float) -> str:
        """Say, for a person to read, why a gate has ended and what follows."""
        copy = self._vault.copies.get(gate)
        version = "as it was at the beginning" if copy is None else f"as it was at version {copy.state.version}"
        when = f" in {wait:g} s" if wait else ""
        return f"gate {gate!r} has ended: {self._post(gate).deaths[-1][1]}. It is made anew{when}, {version}"

    def restart(self, message: Restart, context: Context) -> None:
        """Make a gate anew from its latest copy."""
        post = self._post(message.gate)
        if post.pulse is None and self.cause is None:
            self.restarts += 1
            self._start(post, context)
            self.lease(context)

    def _post(self, gate: str) -> _Post:
        return next(post for post in self._posts if post.gate.name == gate)

    def _failure(self, post: _Post, reason: BaseException | None) -> ActorFailed:
        what = f"gate {post.gate.name} has failed, and the network with it: {post.deaths[0][1]}"
        if post.no_copy is not None:
            what += f". It could not be restarted, for it cannot be copied: {post.no_copy}"
        elif (times := len(post.deaths)) > 1:
            what += f". It ended {times} times within {self._settings.within:g} s; that was the first cause"
        error = ActorFailed(what)
        error.__cause__ = reason.__cause__ if isinstance(reason, UpdateFailed) else reason
        return error


def _blame(reason: BaseException | None) -> BatchId | None:
    batch = reason.batch if isinstance(reason, UpdateFailed) else None
    return batch if isinstance(batch, BatchId) else None


def _told(reason: BaseException | None) -> str:
    if isinstance(reason, UpdateFailed) and reason.__cause__ is not None:
        reason = reason.__cause__
    return "it was stopped" if reason is None else f"{type(reason).__name__}: {reason}"
