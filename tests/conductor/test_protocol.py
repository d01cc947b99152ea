"""Bugs in the protocol between conductor, gates and sentinels that the simulation found, each in a short test."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD

from akkordeon import Gate, TrainingSentinel
from akkordeon.actor import Actor, Context, Ref
from akkordeon.conductor.actor import Conductor
from akkordeon.conductor.requests import Open
from akkordeon.conductor.state import ConductorState
from akkordeon.engines import Delays, Stepped
from akkordeon.errors import ActorNotFound, NoAnswer
from akkordeon.gate.actor import GateActor
from akkordeon.gate.pending import PendingBatches
from akkordeon.messages.batches import Backward, BatchId, Forward, Route
from akkordeon.messages.leases import Alive, Chain, Copy, Held, InHand, Lease, MessageNumber, Orders, Wire
from akkordeon.messages.states import GateState, StatusOf
from akkordeon.sentinel.epochs import Epoch
from akkordeon.sentinel.in_flight import InFlight
from akkordeon.sentinel.training import TrainingActor


def chain() -> list[Gate]:
    return [Gate(name, nn.Linear(2, 2), partial(SGD, lr=0.1)) for name in ("a", "b")]


def conduct(engine: Stepped, state: ConductorState) -> tuple[Ref, tuple[Ref, ...]]:
    conductor = engine.spawn("conductor", partial(Conductor, "net", chain(), state=state))
    refs: tuple[Ref, ...] = conductor.ask(Open(), timeout=1)
    return conductor, refs


def gate_state(version: int) -> GateState:
    return GateState("a", "a.", version, {"weight": torch.zeros(2, 2)}, {"buffers": {}}, {})


def test_a_copy_that_was_overtaken_on_its_way_does_not_replace_the_later_one() -> None:
    """On a network that brings messages out of order, a gate would have lost more than its updates since the last."""
    engine, state = Stepped(), ConductorState()
    conductor, (gate, _) = conduct(engine, state)
    conductor.tell(Copy(gate, gate_state(4), ()))
    engine.run(seconds=1)
    conductor.tell(Copy(gate, gate_state(2), ()))
    engine.run(seconds=1)
    assert state.copies["a"].state.version == 4
    conductor.tell(Copy(gate, gate_state(6), ()))
    engine.run(seconds=1)
    assert state.copies["a"].state.version == 6
    engine.close()


def lease(conductor: Ref, number: int, attached: tuple[int, ...]) -> Lease:
    """The one of this number, which answers the gate's sign of life before."""
    return Lease(MessageNumber(1, number), conductor, number - 1, 10.0, 1, Wire(None, None), attached, 1, 10)


def test_an_update_that_waited_for_a_lease_is_not_made_once_its_sentinel_is_gone() -> None:
    """The gate has forgotten by then what it has applied of that sentinel, so this could be the second time."""
    engine = Stepped()
    outside, gate = engine.inbox("outside").ref, engine.spawn("gate", partial(GateActor, chain()[0]))
    route = Route(BatchId("net", "s", 1, 0), 1, 1, 0, outside, 1)
    gate.tell(lease(outside, 1, attached=(1,)))
    engine.run(seconds=1)
    gate.tell(Forward(route, torch.ones(1, 2)))
    engine.run(seconds=1)
    gate.tell(Backward(route, (torch.ones(1, 2),)))
    engine.run(seconds=1)
    assert gate.ask(StatusOf(), timeout=1).version == 0  # no lease yet
    gate.tell(lease(outside, 2, attached=()))
    engine.run(seconds=1)
    status = gate.ask(StatusOf(), timeout=1)
    assert (status.version, status.skipped) == (0, {"stray": 1})
    engine.close()


def test_a_gate_tells_which_batches_wait_there_and_for_how_long_it_has_computed_one() -> None:
    """Its sentinel took what waited behind slow computations for lost."""
    engine = Stepped(delays=Delays(link=0.0, work=5.0))
    outside, gate = engine.inbox("outside"), engine.spawn("gate", partial(GateActor, chain()[0]))
    gate.tell(lease(outside.ref, 1, attached=(1,)))
    for seq in range(3):
        gate.tell(Forward(Route(BatchId("net", "s", 1, seq), 1, 1, 0, outside.ref, 1), torch.ones(1, 2)))
    engine.run(seconds=2)
    for number, passed in ((2, 0.0), (3, 5.0)):
        engine.run(seconds=passed)
        gate.tell(lease(outside.ref, number, attached=(1,)))
    told = [outside.take(timeout=1) for _ in range(4)]
    signs = [each.in_hand for each in told if isinstance(each, Alive)]
    assert [[(each.batch.seq, round(each.seconds)) for each in sign] for sign in signs] == [
        [(0, 0), (1, 0), (2, 0)],
        [(1, 0), (2, 0), (0, 2)],
        [(2, 0), (1, 2)],
    ]
    engine.close()


def test_a_gate_tells_of_an_update_that_waits_for_a_lease() -> None:
    engine = Stepped()
    outside, gate = engine.inbox("outside"), engine.spawn("gate", partial(GateActor, chain()[0]))
    route = Route(BatchId("net", "s", 1, 0), 1, 1, 0, outside.ref, 1)
    gate.tell(lease(outside.ref, 1, attached=(1,)))
    for message in (Forward(route, torch.ones(1, 2)), Backward(route, (torch.ones(1, 2),))):
        gate.tell(message)
        engine.run(seconds=1)
    gate.tell(lease(outside.ref, 2, attached=(1,)))
    told = [outside.take(timeout=1) for _ in range(4)]
    signs = [each.in_hand for each in told if isinstance(each, Alive)]
    assert signs == [(), (InHand(route.batch, 1, 0.0),)]
    engine.close()


def test_a_forward_that_comes_twice_is_computed_once() -> None:
    """A gradient that comes twice as well would have met the second one, which may have used other weights."""
    entries: PendingBatches[str] = PendingBatches()
    entries.rewire(1)
    route = Route(BatchId("net", "s", 1, 5), 1, 1, 3, Stepped().inbox("home").ref, 1)
    entry = entries.begin(route, version=0)
    assert entry is not None
    entry.saved = "graph"
    assert entries.take(route) is entry
    assert entries.begin(route, version=1) is None
    assert entries.begin(route._replace(attempt=2), version=1) is not None


def test_a_batch_that_waits_is_not_blamed_for_what_another_does_alone() -> None:
    """The last of three tries goes alone; those that wait for it were given up together with it."""
    home, outbox = Stepped().inbox("home").ref, InFlight(30.0)
    for seq in range(2):
        outbox.add(BatchId("net", "s", 1, seq), home, 1, 0.0, epoch=Epoch(1), x=None, target=None)
    for _ in range(2):
        assert outbox.new_term(outbox.term + 1, None) == []
        if outbox.oldest is not None and outbox.oldest.strikes == 1:
            for batch in outbox:
                outbox.again(batch, 1.0)
    alone = outbox.next_waiting()
    assert alone is not None
    outbox.again(alone, 2.0)
    assert outbox.next_waiting() is None
    assert outbox.new_term(outbox.term + 1, None) == [alone]


def test_a_batch_that_has_waited_for_its_turn_has_all_its_time_when_it_is_sent() -> None:
    """One that had to wait for others that went alone was taken for lost as soon as it was out."""
    home, outbox = Stepped().inbox("home").ref, InFlight(30.0)
    batch = outbox.add(BatchId("net", "s", 1, 0), home, 1, 0.0, epoch=Epoch(1), x=None, target=None)
    outbox.new_term(outbox.term + 1, None)
    assert outbox.lost(100.0) == []
    outbox.again(batch, 100.0)
    for now in (101.0, 131.0):
        outbox.saw(Alive(home, 1, outbox.term, 0, ""), now)
    assert outbox.lost(160.0) == []
    assert outbox.lost(161.0) == [batch]


def test_a_lease_that_was_overtaken_brings_no_sentinel_back() -> None:
    """The gate has forgotten what it applied of that one."""
    engine = Stepped()
    outside, gate = engine.inbox("outside").ref, engine.spawn("gate", partial(GateActor, chain()[0]))
    route = Route(BatchId("net", "s", 1, 0), 1, 1, 0, outside, 1)
    gate.tell(lease(outside, 2, attached=()))
    engine.run(seconds=1)
    gate.tell(lease(outside, 1, attached=(1,)))
    engine.run(seconds=1)
    gate.tell(Forward(route, torch.ones(1, 2)))
    engine.run(seconds=1)
    assert gate.ask(StatusOf(), timeout=1).open == 0
    engine.close()


def test_a_forward_that_comes_after_its_batch_is_over_is_not_begun() -> None:
    """The gate has forgotten by then that it applied it."""
    entries: PendingBatches[str] = PendingBatches()
    entries.rewire(1)
    route = Route(BatchId("net", "s", 1, 5), 1, 1, 5, Stepped().inbox("home").ref, 1)
    assert entries.begin(route, version=0) is not None
    entries.mark_applied(route.batch)
    assert entries.begin(route._replace(batch=route.batch._replace(seq=6), low=6), version=1) is not None
    assert not entries.was_applied(route.batch)
    assert entries.begin(route._replace(attempt=2), version=1) is None


def test_what_comes_back_from_a_term_that_is_over_does_not_count() -> None:
    """The gate that was replaced may have lost it."""
    home, outbox = Stepped().inbox("home").ref, InFlight(30.0)
    batch = outbox.add(BatchId("net", "s", 1, 0), home, 1, 0.0, epoch=Epoch(1), x=None, target=None)
    before = batch.route
    assert outbox.find(before, 1.0) is batch
    outbox.new_term(outbox.term + 1, None)
    assert outbox.find(before, 1.0) is None
    outbox.again(batch, 2.0)
    assert outbox.find(before, 1.0) is None
    assert outbox.find(batch.route, 1.0) is batch


def test_orders_that_were_overtaken_do_not_end_a_pause() -> None:
    """What is saved would have been of no one moment."""
    engine = Stepped()
    inbox = engine.inbox("all others")
    sentinel = TrainingSentinel("t", partial(list, [(torch.ones(1, 2), torch.ones(1, 2))]), nn.functional.mse_loss)
    actor = engine.spawn("sentinel t", partial(TrainingActor, sentinel, inbox.ref, "net", 1))
    there = Chain(inbox.ref, inbox.ref, ("a",))
    actor.tell(Orders(MessageNumber(1, 2), inbox.ref, 1, there, 1, pause=1))
    engine.run(seconds=2)
    actor.tell(Orders(MessageNumber(1, 1), inbox.ref, 1, there, 1))
    engine.run(seconds=2)
    told = [type(inbox.take(timeout=0.1)) for _ in range(2)]
    assert told == [Alive, Held]
    with pytest.raises(NoAnswer):
        inbox.take(timeout=1)
    engine.close()


class Sleeper(Actor):
    """Has left, and waits to be stopped."""

    def receive(self, message: object, context: Context) -> object:
        return None


def test_the_next_conductor_ends_what_the_one_before_was_about_to_end() -> None:
    """A conductor that died between writing that a sentinel had left and stopping it left it behind for ever."""
    engine, state = Stepped(), ConductorState()
    engine.spawn("sentinel x", Sleeper)
    state.gates, state.retired = {"a": "gate a", "b": "gate b"}, {"sentinel x", "gate#2 gone"}
    conduct(engine, state)
    engine.run(seconds=10)
    with pytest.raises(ActorNotFound):
        engine.find("sentinel x")
    engine.close()
