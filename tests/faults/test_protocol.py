"""Stories that the simulation told of the protocol between conductor, gates and sentinels, each told again briefly."""

from functools import partial

import torch
from torch import nn
from torch.optim import SGD

from akkordeon import Gate
from akkordeon.actor import Ref
from akkordeon.conductor import Conductor
from akkordeon.control import Open
from akkordeon.engines import Stepped
from akkordeon.signals import Copy, GateState
from akkordeon.vault import Vault


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
