"""Launches a network, and joins one that runs."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from akkordeon.actor import Engine, Ref
from akkordeon.conductor.actor import Conductor
from akkordeon.conductor.handshake import own_handshake
from akkordeon.conductor.placement import Placement, lent
from akkordeon.conductor.requests import Hello, Open, Roster, Who
from akkordeon.conductor.sentinels import Limits
from akkordeon.conductor.supervision import Supervision
from akkordeon.engines import Ray, Threads
from akkordeon.errors import NameTaken, WiringError
from akkordeon.gate.chain import check_chain
from akkordeon.gate.description import Gate, own_copy
from akkordeon.messages.states import StatusOf
from akkordeon.network.best import FOLDER, Best
from akkordeon.network.network import Network
from akkordeon.network.recording import Recorder, Sink
from akkordeon.network.run_folder import RunFolder, opened
from akkordeon.network.viewing import ANSWER_TIMEOUT
from akkordeon.network.waiting import wait_until
from akkordeon.saving.restore import beginning
from akkordeon.tensors import refuse_autocast

if TYPE_CHECKING:
    from akkordeon.engines import Access

logger = logging.getLogger(__name__)

REMOTE = Supervision(lease=15.0, begin=60.0)
"""Between machines, only silence tells that a link is cut: the lease is some seconds longer than Ray takes to notice
that a machine is gone, since it starts no process there until then. A new process takes a while to begin."""

START_TIMEOUT = 60.0
"""Seconds that a gate has to begin: in a process of its own, it imports torch first."""


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
    run: Path | str | RunFolder | None = None,
    sinks: Sequence[Sink] = (),
    keep_best: str | None = None,
    patience: int | None = None,
    trace: int | None = None,
) -> Network:
    """Start a network of gates, wired in the order given.

    Args:
        gates: descriptions; each gate trains a copy of its module.
        engine: where the actors run; the network closes it. Default: `Threads()`, in this process.
        weights: initial weights: a safetensors file, a folder that `Network.save` wrote, or a state dict, by the names
            in the whole network (`Gate.prefix`); they may come from a network that was cut differently.
        resume: resume the network that was saved in this folder, with its optimizers, schedulers and random numbers. A
            training sentinel that joins under a saved name continues at its position in the data.
        max_staleness: of any gradient, in updates of its gate: all training sentinels together get no more than this
            and one batch in flight, so 0 is synchronous training. A gradient that comes later still, because its
            sentinel is slow, is skipped and counted. None grants sentinels what they ask for, and skips gradients that
            come four times as late as there were ever batches in flight.
        capacity: how many batches may be in flight at once, over all sentinels.
        supervision: when gates and sentinels count as dead, and how often gates are restarted. Default:
            `Supervision()`; on an engine of several processes with a lease of 15 s.
        placement: on which hosts gates live, on an engine of several machines. The named hosts must join within the
            time that it sets.
        run: keep in this folder what the run was (`run.json`) and what happened in it (`events.jsonl`). Where it cannot
            be written, a warning says so, and the run goes on without.
        sinks: get all events, such as `Csv` and `TensorBoard`; `Sink` says how to write one. They are closed with the
            network, and when it cannot be started.
        keep_best: "SENTINEL.FIGURE", such as "validation.accuracy": save the network in the folder `best` of the run
            folder whenever `Network.watch` yields a report with a better one. A loss is best where it is least,
            anything else where it is largest, unless ":min" or ":max" follows. `load` and `weights` take the folder.
        patience: end training after so many reports in a row in which it is no better.
        trace: keep in the run folder what was computed of the first so many training batches, when, and on which
            worker; `akkordeon trace` makes a trace for Perfetto of it.

    Raises:
        WiringError: the gates cannot be wired together; says why.
        CheckpointDamaged: the save is missing or damaged.
        CheckpointMismatch: the save does not fit the gates; lists every difference.
        ActorFailed: a gate could not be started.
    """
    try:
        refuse_autocast("launch")
        check_chain(gates)
        best = _best(keep_best, run, patience)
        limits, placement = Limits(max_staleness, capacity), placement or Placement()
        placement.check(gates)
        begin = beginning(gates, weights, resume)
        engine = engine or Threads()
        name = f"network-{os.urandom(4).hex()}"
        supervision = supervision or (Supervision() if not engine.address else REMOTE)
        chosen = [_with_computations(gate, engine) for gate in _in_training(begin.gates)]
        make = partial(
            Conductor,
            name,
            chosen,
            begin.states,
            begin.positions,
            settings=supervision,
            limits=limits,
            placement=placement,
        )
        conductor = _conductor(engine, make)
        _await_hosts(engine, placement)
        refs: tuple[Ref, ...] = conductor.ask(Open(), timeout=ANSWER_TIMEOUT)
        for ref in refs:
            ref.ask(StatusOf(), timeout=START_TIMEOUT)  # which fails if the gate could not be made
        sinks = [*sinks, *([] if run is None else opened(run))]
        recorder = _recorder(engine, conductor, sinks, trace)
    except BaseException:
        for sink in sinks:
            sink.close()
        if engine is not None:
            engine.close()
        raise
    return Network(gates, engine, conductor, recorder=recorder, best=best)


def connect(
    address: str | None = None,
    *,
    gates: Sequence[Gate] | None = None,
    engine: Engine | None = None,
    name: str = "network",
    mine: str | None = None,
    access: "Access | None" = None,
) -> Network:
    """Join a network that runs, on this or another machine.

    Args:
        address: "HOST:PORT", as it was given to `akkordeon network --address`.
        gates: of the recipe that is used here; they are compared with the network's.
        engine: where sentinels live that are attached from here; closed with the returned network. Default: a `Ray`
            that joins at `address`, with the arguments below.
        name: of the network.
        mine: address of this machine, by which others reach it; None is the one on the route to the network.
        access: token and certificates; None looks for the token in its usual place.

    Raises:
        Unreachable: there is no usable network at that address; says why.
        WiringError: there is no network of that name, or this process differs from it; says in what.
    """
    engine = engine or Ray(address, join=True, spares=0, first=1, name=name, mine=mine, access=access)
    try:
        conductor = engine.find("conductor")
        refusal = conductor.ask(Hello(own_handshake(gates), "this process"), timeout=ANSWER_TIMEOUT)
        if refusal is not None:
            raise refusal
        roster: Roster = conductor.ask(Who(), timeout=ANSWER_TIMEOUT)
    except BaseException:
        engine.close()
        raise
    return Network((), engine, conductor, seen=roster.events)


def _recorder(engine: Engine, conductor: Ref, sinks: Sequence[Sink], trace: int | None) -> Recorder | None:
    if trace is not None and (trace < 1 or not sinks):
        raise WiringError(f"trace={trace} is to be at least 1 batch, and needs run=, the folder to keep it in")
    recorder = Recorder(engine, conductor, sinks) if sinks else None
    if recorder is not None and trace is not None:
        recorder.trace(trace)
    return recorder


def _best(keep_best: str | None, run: Path | str | RunFolder | None, patience: int | None) -> Best | None:
    if keep_best is None and patience is None:
        return None
    if keep_best is None or run is None:
        raise WiringError("keep_best= needs run=, the folder to keep it in, and patience= needs keep_best=")
    return Best(keep_best, (run.path if isinstance(run, RunFolder) else Path(run)) / FOLDER, patience)


def _with_computations(gate: Gate, engine: Engine) -> Gate:
    """Decide how many batches a gate may compute at once, if its description leaves that open."""
    return gate if gate.computations is not None else replace(gate, computations=engine.computations)


def _in_training(gates: Sequence[Gate]) -> Sequence[Gate]:
    """Put a model into training mode all of which is in evaluation, as loops do by `model.train()`.

    Where only parts are in evaluation, that is meant so: they stay there.
    """
    parts = [part for gate in gates for part in gate.module.modules() if not any(True for _ in part.children())]
    if not parts or any(part.training for part in parts):
        return gates
    logger.warning(
        "all of the model is in evaluation mode, as after from_pretrained() or eval(); it is trained in training mode. "
        "To keep parts in evaluation, call train() on the model first, then eval() on these parts"
    )
    return [replace(gate, module=own_copy(gate.module).train()) for gate in gates]


def _conductor(engine: Engine, make: Callable[[], Conductor]) -> Ref:
    try:
        return engine.spawn("conductor", make)
    except NameTaken:
        where = f" at {engine.address}" if engine.address else ""
        raise WiringError(
            f"a network of this name is open{where}: join it with `akkordeon sentinel` or `connect`, close it with "
            "`akkordeon close`, or use another name or address"
        ) from None


def _await_hosts(engine: Engine, placement: Placement) -> None:
    """Wait until all hosts of a placement have joined.

    Raises:
        WiringError: some have not; lists them, and those that have.
    """

    def missing() -> str:
        there = lent(engine.places())
        return ", ".join(host for host in placement.needed if host not in there)

    if not placement.needed or not (names := missing()):
        return
    where = f" --network {engine.address}" if engine.address else ""
    logger.warning("waiting for host %s: on each, run: akkordeon host%s --name NAME", names, where)
    if not wait_until(engine, lambda: not missing(), seconds=placement.wait, pause=0.2):
        raise WiringError(
            f"no host {missing()} has joined within {placement.wait:g} s; there are: "
            f"{', '.join(lent(engine.places())) or 'none'}. On each, run: akkordeon host{where} --name NAME"
        )
