"""Actors in processes of their own: what reaches them, whom they watch and stop, and what becomes of one killed."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import akkordeon as ak
from akkordeon.actor import Actor, Context, Ended, Inbox, Ref
from akkordeon.engines import Ray
from akkordeon.errors import ActorFailed, WiringError
from akkordeon.messages.batches import Backward, BatchId, Forward, Route
from akkordeon.views.perfetto import traced
from tests.system.distributed.chain import make_optimizer
from tests.system.distributed.conftest import MakeEngine
from tests.waiting import limit

pytestmark = pytest.mark.timeout(120)

LIMIT = limit(60.0)
"""Seconds for what takes one on a quiet machine."""


class Agent(Actor):
    """Does what an inbox tells it, and reports to it."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        match message:
            case "pid":
                return os.getpid()
            case "lock":
                self.to.tell(threading.Lock())
            case ("watch", name):
                context.watch(context.find(str(name)), context.me)
            case ("stop", name):
                context.stop(context.find(str(name)))
            case Forward():
                self.to.tell(self._scribble(message))
            case _:
                self.to.tell((context.me.name, message))
        return None

    def _scribble(self, message: Forward) -> Backward:
        """Write into all that came, and send it back."""
        tensors: list[Tensor] = list(message.x["parts"])
        for tensor in tensors:
            tensor.zero_()
        return Backward(message.route, tuple(tensors), (os.getpid(),))


@pytest.fixture(scope="module")
def inbox(shared: Ray) -> Iterator[Inbox]:
    inbox = shared.inbox("the test on Ray")
    yield inbox
    inbox.close()


@pytest.fixture(scope="module")
def agents(shared: Ray, inbox: Inbox) -> Iterator[tuple[Ref, Ref]]:
    one, two = (shared.spawn(f"agent {number}", partial(Agent, inbox.ref)) for number in (1, 2))
    yield one, two
    for each in (one, two):
        shared.stop(each)


def test_actors_live_in_processes_of_their_own(shared: Ray, agents: tuple[Ref, Ref]) -> None:
    pids = {agent.ask("pid", timeout=LIMIT) for agent in agents}
    assert len(pids | {os.getpid()}) == 3
    where = shared.where()
    assert {int(where[agent.name].split()[0]) for agent in agents} == pids


def test_a_batch_crosses_processes_and_shares_no_memory(inbox: Inbox, agents: tuple[Ref, Ref]) -> None:
    route = Route(BatchId("network", "train", 1, 17), attempt=1, term=1, low=15, home=inbox.ref, size=2)
    large = torch.ones(2000, 1000)
    parts = (large, torch.ones(2, dtype=torch.bfloat16), torch.tensor(True), torch.ones(3, requires_grad=True))
    for agent in agents:
        agent.tell(Forward(route, {"parts": parts, "mask": None}))
        back = inbox.take(timeout=LIMIT)
        assert isinstance(back, Backward)
        assert back.route == route
        assert back.trail == (agent.ask("pid", timeout=LIMIT),)
        assert [(each.dtype, each.shape) for each in back.gradients if each is not None] == [
            (each.dtype, each.shape) for each in parts
        ]
        assert not any(each.any() or each.requires_grad for each in back.gradients if each is not None)
        for each in back.gradients:
            assert each is not None
            each.fill_(1)
    assert all(each.all() for each in parts)


def test_an_end_reaches_a_watcher_in_another_process(shared: Ray, inbox: Inbox, agents: tuple[Ref, Ref]) -> None:
    one, two = agents
    fragile = shared.spawn("fragile", partial(Agent, inbox.ref))
    one.tell(("watch", "fragile"))
    one.tell("watching")
    assert inbox.take(timeout=LIMIT) == ("agent 1", "watching")
    two.tell(("stop", "fragile"))
    assert inbox.take(timeout=LIMIT) == ("agent 1", Ended(fragile, None))


def test_each_watcher_learns_once_why_a_process_died(shared: Ray, inbox: Inbox, agents: tuple[Ref, Ref]) -> None:
    fragile = shared.spawn("fragile", partial(Agent, inbox.ref))
    for agent in agents:
        agent.tell(("watch", "fragile"))
        agent.tell("watching")
        assert inbox.take(timeout=LIMIT) == (agent.name, "watching")
    os.kill(fragile.ask("pid", timeout=LIMIT), signal.SIGKILL)
    told = dict(inbox.take(timeout=LIMIT) for _ in agents)
    assert set(told) == {"agent 1", "agent 2"}
    for ended in told.values():
        assert ended.actor == fragile
        assert isinstance(ended.reason, ActorFailed)
        assert str(ended.reason) == (
            "fragile has ended: its process has died: killed, out of memory, or crashed in native code"
        )
    with pytest.raises(ActorFailed, match="fragile has ended"):
        fragile.ask("pid", timeout=LIMIT)
    fragile.tell("anyone there?")
    with pytest.raises(ak.NoAnswer):
        inbox.take(timeout=0.1)


def test_an_unpicklable_message_ends_its_sender_and_watchers_learn_why(shared: Ray, inbox: Inbox) -> None:
    sender = shared.spawn("sender", partial(Agent, inbox.ref))
    shared.watch(sender, inbox.ref)
    sender.tell("lock")
    ended = inbox.take(timeout=LIMIT)
    assert ended.actor == sender
    assert isinstance(ended.reason, WiringError)
    assert "lock cannot be sent to another process: cannot pickle '_thread.lock' object" in str(ended.reason)


def test_an_unpicklable_message_from_outside_is_refused(agents: tuple[Ref, Ref]) -> None:
    with pytest.raises(WiringError, match="tuple cannot be sent to another process: cannot pickle"):
        agents[0].tell(("lock", threading.Lock()))
    assert agents[0].ask("pid", timeout=LIMIT) != os.getpid()


@pytest.fixture
def only_here() -> Iterator[ModuleType]:
    """A module that no other process has."""
    module = ModuleType("only_here")
    source = "from torch import nn\nclass Own(nn.Linear):\n    pass\n"
    exec(compile(source, "only_here.py", "exec"), vars(module))  # noqa: S102 - a module without a file
    sys.modules["only_here"] = module
    yield module
    del sys.modules["only_here"]


def test_a_gate_whose_class_cannot_be_imported_elsewhere_is_refused(
    make_engine: MakeEngine, only_here: ModuleType
) -> None:
    module: nn.Module = only_here.Own(2, 2)
    with pytest.raises(ak.ActorFailed, match=r"only_here") as caught:
        ak.launch([ak.Gate("stem", module, make_optimizer)], engine=make_engine(0))
    assert "No module named 'only_here'" in str(caught.value)


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[ak.Event] = []

    def write(self, event: ak.Event) -> None:
        self.events.append(event)

    def close(self) -> None: ...


def pairs() -> list[tuple[Tensor, Tensor]]:
    return [(torch.ones(2, 3), torch.ones(2, 3))] * 4


def test_what_happens_in_other_processes_reaches_sinks_and_hooks(make_engine: MakeEngine) -> None:
    sink, hooked = Kept(), list[ak.Report]()
    gates = [ak.Gate(name, nn.Linear(3, 3), make_optimizer) for name in ("stem", "head")]
    with ak.launch(gates, engine=make_engine(1), sinks=[sink], trace=12) as network:
        network.on("report", hooked.append)
        network.attach(ak.TrainingSentinel("train", pairs, mse_loss, epochs=3))
        reports = list(network.watch())
    losses = [each.loss for each in reports]
    assert losses == [each.loss for each in hooked]
    assert losses == [each.record.loss for each in sink.events if each.kind == "report"]
    assert {each.record.name for each in sink.events if each.kind == "gate"} == {"stem", "head"}
    seconds = [each.seconds for each in sink.events]
    assert seconds == sorted(seconds)
    processes = {each.record.process.pid for each in sink.events if each.kind == "gate"}
    assert len(processes) == 2
    rows = traced(each.plain() for each in sink.events)
    assert len({row.batch for row in rows}) == 12
    for batch in {row.batch for row in rows}:
        found = {(row.actor, row.what): row for row in rows if row.batch == batch}
        assert {what for _, what in found} == {"forward", "loss", "backward", "update"}
        forward, loss, backward = found["stem", "forward"], found["train", "loss"], found["stem", "backward"]
        assert forward.over <= loss.began <= backward.began
