"""Stories that the simulation told of the protocol between conductor, gates and sentinels, each told again briefly."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD

from akkordeon import Gate
from akkordeon.actor import Actor, Context, Ref
from akkordeon.conductor import Conductor
from akkordeon.control import Open
from akkordeon.engines import Stepped
from akkordeon.errors import ActorNotFound
from akkordeon.signals import Copy, GateState
from akkordeon.vault import Register, Vault


def chain() -> list[Gate]:
    return [Gate(name, nn.Linear(2, 2), partial(SGD, lr=0.1)) for name in ("a", "b")]


def conduct(engine: Stepped, vault: Vault) -> tuple[Ref, tuple[Ref, ...]]:
    conductor = engine.spawn("conductor", partial(Conductor, "net", chain(), vault=vault))
    refs: tuple[Ref, ...] = conductor.ask(Open(), timeout=1)
    return conductor, refs


def state(version: int) -> GateState:
    return GateState("a", "a.", version, {"weight": torch.zeros(2, 2)}, {"buffers": {}}, {})


def test_a_copy_that_was_overtaken_on_its_way_does_not_replace_the_later_one() -> None:
    """On a network that brings messages out of order, a gate would have lost more than its updates since the last."""
    engine, vault = Stepped(), Vault()
    conductor, (gate, _) = conduct(engine, vault)
    conductor.tell(Copy(gate, state(4), ()))
    engine.run(seconds=1)
    conductor.tell(Copy(gate, state(2), ()))
    engine.run(seconds=1)
    assert vault.copies["a"].state.version == 4
    conductor.tell(Copy(gate, state(6), ()))
    engine.run(seconds=1)
    assert vault.copies["a"].state.version == 6
    engine.close()


class Sleeper(Actor):
    """Has left, and waits to be stopped."""

    def receive(self, message: object, context: Context) -> object:
        return None


def test_the_next_conductor_ends_what_the_one_before_was_about_to_end() -> None:
    """A conductor that died between writing that a sentinel had left and stopping it left it behind for ever."""
    engine, vault = Stepped(), Vault()
    engine.spawn("sentinel x", Sleeper)
    vault.register = Register("net", 1, 1, (("a", "gate a"), ("b", "gate b")), retired=("sentinel x", "gate#2 gone"))
    conduct(engine, vault)
    engine.run(seconds=10)
    with pytest.raises(ActorNotFound):
        engine.find("sentinel x")
    engine.close()
