"""How a network comes to be, and how one that runs is joined."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from akkordeon.actor import Engine, Ref
from akkordeon.conductor.actor import Conductor
from akkordeon.conductor.handshake import papers
from akkordeon.conductor.limits import Limits
from akkordeon.conductor.placement import Placement, lent
from akkordeon.conductor.requests import Hello, Open, Roster, Who
from akkordeon.conductor.supervision import Supervision
from akkordeon.engines import Ray, Threads
from akkordeon.errors import NameTaken, NoAnswer, WiringError
from akkordeon.gate.chain import check_chain
from akkordeon.gate.description import Gate
from akkordeon.messages.states import StatusOf
from akkordeon.network.network import ANSWER, Network
from akkordeon.saving.restore import beginning

logger = logging.getLogger(__name__)

REMOTE = Supervision(lease=15.0, begin=60.0)
"""Between machines silence is how one learns that a link is cut: some seconds after Ray has noticed that a machine is
gone, since nothing can be begun there until then. And a process takes a while to begin."""

START = 60.0
"""Seconds that a gate has to begin; where it has a process of its own, that imports torch first."""


def launch(
    gates: Sequence[Gate],
    *,
    engine: Engine | None = None,
    weights: Path | str | Mapping[str, Tensor] | None = None,
    resume: Path | str | None = None,
    max_staleness: int | None = None,
    capacity: int = 1024,
    supervision: Supervision | None = None,
    placement: Placement | None = None,
) -> Network:
    """Start a network of gates, wired in the order given.

    Args:
        gates: descriptions; each gate trains a copy of its module.
        engine: where the actors run; the network closes it. Default: `Threads()`, in this process.
        weights: begin with these: a safetensors file, a folder that `Network.save` wrote, or a state dict, by the names
            in the whole network (`Gate.prefix`); they may come from a network that was cut otherwise.
        resume: go on where a network was saved in this folder, with its optimizers, schedulers and random numbers. A
            training sentinel that joins under a name that was saved goes on at its place in the data.
        max_staleness: of any gradient, in updates of its gate: all training sentinels together get no more than this
            and one batch in flight, so 0 is synchronous training; a gradient that comes later still, because its
            sentinel is slow, say, is skipped and counted. None lets in what sentinels ask for, and skips what comes
            four times as late as there were ever batches in flight.
        capacity: how many batches may be in flight at once, of all sentinels together.
        supervision: when gates and sentinels count as dead, and how often gates are restarted. Default:
            `Supervision()`; on an engine of several processes with a lease of 15 s.
        placement: on which hosts gates are to live, on an engine of several machines. Hosts that are named must join
            within the time that it gives them.

    Raises:
        WiringError: the gates cannot be wired together; says why.
        CheckpointDamaged: what was saved is not there, or damaged.
        CheckpointMismatch: it does not fit the gates; lists every difference.
        ActorFailed: a gate could not be started.
    """
    try:
        check_chain(gates)
        limits, placement = Limits(max_staleness, capacity), placement or Placement()
        placement.check(gates)
        begin = beginning(gates, weights, resume)
        engine = engine or Threads()
        name = f"network-{os.urandom(4).hex()}"
        supervision = supervision or (Supervision() if not engine.address else REMOTE)
        settings: dict[str, Any] = {"settings": supervision, "limits": limits, "placement": placement}
        chosen = [_with_computations(gate, engine) for gate in begin.gates]
        make = partial(Conductor, name, chosen, begin.states, begin.positions, **settings)
        conductor = _conductor(engine, make)
        _await_hosts(engine, placement)
        refs: tuple[Ref, ...] = conductor.ask(Open(), timeout=ANSWER)
        for ref in refs:
            ref.ask(StatusOf(), timeout=START)  # which fails if the gate could not be made
    except BaseException:
        if engine is not None:
            engine.close()
        raise
    return Network(gates, engine, conductor)


def connect(
    address: str | None = None,
    *,
    gates: Sequence[Gate] | None = None,
    engine: Engine | None = None,
    **settings: Any,
) -> Network:
    """Join a network that runs, on this or another machine.

    Args:
        address: "HOST:PORT", as it was given to `akkordeon network --address`.
        gates: of the recipe that is used here, to be compared with the network's.
        engine: where what is attached from here lives; closed with what this returns. Default: `engines.Ray(address,
            join=True)`.
        settings: of that engine: name, mine, token, tls, insecure.

    Raises:
        Unreachable: there is no network that can be used at that address; says why.
        WiringError: there is no network of that name, or it differs from this process; names in what.
    """
    engine = engine or Ray(address, join=True, spares=0, first=1, **settings)
    try:
        conductor = engine.find("conductor")
        refusal = conductor.ask(Hello(papers(gates), "this process"), timeout=ANSWER)
        if refusal is not None:
            raise refusal
        roster: Roster = conductor.ask(Who(), timeout=ANSWER)
    except BaseException:
        engine.close()
        raise
    return Network((), engine, conductor, seen=roster.events)


def _with_computations(gate: Gate, engine: Engine) -> Gate:
    """Say how many batches a gate may compute at once, if its description leaves that open."""
    return gate if gate.computations is not None else replace(gate, computations=engine.computations)


def _conductor(engine: Engine, make: Callable[[], Conductor]) -> Ref:
    try:
        return engine.spawn("conductor", make)
    except NameTaken:
        where = f" at {engine.address}" if engine.address else ""
        raise WiringError(
            f"a network of this name is open{where}: join it with `akkordeon sentinel` or `connect`, close it with "
            "`akkordeon close`, or give this one another name or address"
        ) from None


def _await_hosts(engine: Engine, placement: Placement) -> None:
    """Wait until all hosts that are needed have joined.

    Raises:
        WiringError: some have not; names them, and those that have.
    """
    deadline = time.monotonic() + placement.wait
    told = False
    while missing := [host for host in placement.needed if host not in (there := lent(engine.places()))]:
        names, where = ", ".join(missing), f" --network {engine.address}" if engine.address else ""
        if time.monotonic() > deadline:
            raise WiringError(
                f"no host {names} has joined within {placement.wait:g} s; there are: {', '.join(there) or 'none'}. "
                f"On each, run: akkordeon host{where} --name NAME"
            )
        if not told:
            logger.warning("waiting for host %s: on each, run: akkordeon host%s --name NAME", names, where)
            told = True
        _pause(engine)


def _pause(engine: Engine) -> None:
    inbox = engine.inbox("waiting for hosts")
    with suppress(NoAnswer):
        inbox.take(timeout=0.2)
    inbox.close()
