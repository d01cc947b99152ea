"""A network in which nothing moves says so: which gate, which batch of which sentinel, what waits, for how long."""

import logging
import re
import threading
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Actor, Context, Ref
from akkordeon.conductor.watchdog import Watchdog
from akkordeon.engines import Stepped, Threads
from akkordeon.messages.leases import Alive
from tests.network.patience import wait_until


class Nobody(Actor):
    def receive(self, message: object, context: Context) -> object:
        return None


@pytest.fixture
def refs() -> list[Ref]:
    engine = Stepped()
    return [engine.spawn(name, Nobody) for name in ("gate stem", "sentinel train")]


def sign(ref: Ref, moved: int, waiting: str = "") -> Alive:
    return Alive(ref, 1, 1, moved, waiting)


def test_who_waits_is_named_once_nothing_has_moved_for_long_enough(refs: list[Ref]) -> None:
    gate, sentinel = refs
    dog = Watchdog(10.0)
    dog.saw(sign(gate, 5, "computes the forward of batch 3"), 0.0)
    dog.saw(sign(sentinel, 2, "has 4 batches out"), 0.0)
    dog.saw(sign(gate, 5, "computes the forward of batch 3"), 9.0)
    assert dog.check(9.0) is None
    assert dog.check(10.0) == (
        "nothing has moved for 10 s:\ngate stem computes the forward of batch 3\nsentinel train has 4 batches out"
    )
    assert dog.check(11.0) is None  # it has been said
    dog.saw(sign(sentinel, 3, "has 4 batches out"), 12.0)
    assert dog.check(21.0) is None
    assert dog.check(22.0) is not None


def test_a_network_in_which_nobody_waits_may_rest(refs: list[Ref]) -> None:
    dog = Watchdog(10.0)
    for ref in refs:
        dog.saw(sign(ref, 5), 0.0)
    assert dog.check(1000.0) is None


def test_who_has_left_waits_no_longer(refs: list[Ref]) -> None:
    gate, sentinel = refs
    dog = Watchdog(10.0)
    dog.saw(sign(gate, 5), 0.0)
    dog.saw(sign(sentinel, 2, "has 4 batches out"), 0.0)
    dog.forget(sentinel, 5.0)
    assert dog.check(1000.0) is None


class Hangs(nn.Module):
    """Computes nothing until it is set free."""

    began, free = threading.Event(), threading.Event()

    def forward(self, x: Tensor) -> Tensor:
        self.began.set()
        assert self.free.wait(30)
        return x


def data() -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(4):
        yield torch.randn(2, 6), torch.zeros(2, dtype=torch.long)


def gates() -> list[ak.Gate]:
    make = partial(SGD, lr=0.1)
    return [
        ak.Gate("stem", nn.Linear(6, 5), make),
        ak.Gate("body", Hangs(), computations=1),
        ak.Gate("head", nn.Linear(5, 3), make),
    ]


def watch(network: ak.Network, reports: list[ak.Report]) -> None:
    reports.extend(network.watch())


def test_a_gate_that_hangs_is_reported_with_the_stack_of_its_worker(caplog: pytest.LogCaptureFixture) -> None:
    Hangs.began.clear()
    Hangs.free.clear()
    reports: list[ak.Report] = []
    settings = ak.Supervision(stall=0.3)
    with caplog.at_level(logging.WARNING), ak.launch(gates(), engine=Threads(2), supervision=settings) as network:
        network.attach(ak.TrainingSentinel("train", data, cross_entropy, in_flight=3, epochs=1))
        watcher = threading.Thread(target=watch, args=(network, reports))
        watcher.start()
        wait_until(network, lambda: "nothing has moved" in caplog.text, what="a report")
        Hangs.free.set()
        watcher.join(30)
        assert not watcher.is_alive()
    says = partial(re.search, string=caplog.text)
    assert says(r"gate body has been computing the forward of batch 0 of sentinel 'train' for \d+\.\d s")
    oldest = r"the oldest is batch 0 of sentinel 'train', attempt 1, for \d+\.\d s"
    assert says(f"sentinel train has 3 batches in flight; {oldest}")
    assert "gate body: " in caplog.text
    assert "messages waiting, 1 computations" in caplog.text
    assert "self.free.wait(30)" in caplog.text  # where it hangs
    assert [report.samples for report in reports] == [8]


def test_a_loader_that_yields_nothing_is_reported_too(caplog: pytest.LogCaptureFixture) -> None:
    free = threading.Event()

    def slow() -> Iterator[tuple[Tensor, Tensor]]:
        assert free.wait(30)
        yield from data()

    reports: list[ak.Report] = []
    with (
        caplog.at_level(logging.WARNING),
        ak.launch(gates()[::2], engine=Threads(2), supervision=ak.Supervision(stall=0.3)) as network,
    ):
        network.attach(ak.TrainingSentinel("train", slow, cross_entropy, epochs=1))
        watcher = threading.Thread(target=watch, args=(network, reports))
        watcher.start()
        wait_until(network, lambda: "nothing has moved" in caplog.text, what="a report")
        free.set()
        watcher.join(30)
    assert "sentinel train has waited 0." in caplog.text
    assert len(reports) == 1
