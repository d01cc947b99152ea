"""The threads engine, driven to what it hardly ever meets: gates that end all the time, switches in the middle of
everything, and sentinels that come and go. In short; the long forms are in benchmarks/faults.
"""

import json
import random
import statistics
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Threads
from akkordeon.testing import crash
from tests.network.counting import applied, gates, total, training
from tests.network.patience import wait_until

AT_ONCE = ak.Supervision(restarts=100_000, backoff=(0.0,), copy_every=1, copy_share=1.0)


def tell(**figures: object) -> None:
    """Print what a run under faults came to, as one line of JSON."""
    print(json.dumps({"engine": "threads"} | figures))


class Unlucky(SGD):
    """Raises in one step of fifty, after half of the update."""

    dice = random.Random(11)
    raised = 0

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        if self.dice.random() < 0.02:
            Unlucky.raised += 1
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(1e6)
            raise OSError(f"out of luck for the {Unlucky.raised}th time")  # the same error again would end the network
        super().step()


def test_gates_that_end_and_updates_that_fail_lose_no_batch_and_apply_none_twice() -> None:
    Unlucky.dice, Unlucky.raised, num, crashes = random.Random(11), 0, 600, 0
    dice = random.Random(5)
    with ak.launch(gates(num, Unlucky), engine=Threads(2), supervision=AT_ONCE) as network:
        for sentinel in range(2):
            network.attach(training(f"train {sentinel}", sentinel * num // 2, num // 2, time_limit=60.0))
        while network.status().sentinels:
            done = sum(each.done for each in network.status().sentinels)
            try:
                crash(network, dice.choice(["stem", "body", "head"]))
                crashes += 1
            except ak.ActorNotFound:
                continue  # it is being restarted
            wait_until(network, partial(_moved, network, done + 20), what="batches")
        reports = list(network.watch())
        counts, restarts = applied(network), network.status().restarts
    dropped: Counter[str] = sum((Counter(report.skipped) for report in reports), Counter())
    tell(
        faults_injected={"crash": crashes, "raise": Unlucky.raised},
        recovered=restarts,
        batches_done=num - dropped["poison"],
        batches_dropped=dict(dropped),
        applied_twice=sum(count > 1 for gate in counts for count in gate),
    )
    assert crashes >= 5
    assert Unlucky.raised >= 5
    assert restarts >= crashes + Unlucky.raised - 3
    assert all(count in (0, 1) for gate in counts for count in gate)
    missing = [sum(count == 0 for count in gate) for gate in counts]
    assert max(missing) <= dropped["poison"] + restarts * 2 * 4  # what was in flight, and nothing that was copied


def _moved(network: ak.Network, done: int) -> bool:
    status = network.status()
    return not status.sentinels or sum(each.done for each in status.sentinels) >= done


@pytest.fixture
def _nervous() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_nervous")
def test_switches_in_the_middle_of_everything_lose_and_double_nothing() -> None:
    num = 4000
    with ak.launch(gates(num, computations=2), engine=Threads(4)) as network:
        for sentinel in range(2):
            network.attach(training(f"train {sentinel}", sentinel * num // 2, num // 2, in_flight=6))
        reports = list(network.watch())
        counts = applied(network)
    assert sum(report.samples for report in reports) == num
    assert counts == [[1] * num] * 3


def test_fifty_sentinels_come_and_go_beside_a_slow_one_and_leave_nothing_behind() -> None:
    each, slowly = 20, threading.Event()

    def slow(output: tuple[torch.Tensor, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        slowly.wait(0.05)
        return total(output, target)

    num = 51 * each
    with ak.launch(gates(num), engine=Threads(2), max_staleness=30) as network:
        slow_one = training("slow", 50 * each, each, in_flight=2)
        network.attach(ak.TrainingSentinel("slow", slow_one.data, slow, in_flight=2, epochs=1))
        for sentinel in range(50):
            network.attach(training(f"train {sentinel}", sentinel * each, each, in_flight=3))
            if sentinel % 5 == 4:
                network.detach(f"train {sentinel}")
            wait_until(network, lambda: len(network.status().sentinels) <= 8, what="room")
        list(network.watch())
        wait_until(network, lambda: not any(gate.open for gate in network.status().gates), what="gates to forget")
        status, counts = network.status(), applied(network)
    late = sum(gate.skipped.get("too stale", 0) for gate in status.gates)
    tell(max_staleness=max(gate.staleness.max for gate in status.gates), too_stale=late)
    assert all(gate.staleness.max <= 30 for gate in status.gates)
    assert all(count in (0, 1) for gate in counts for count in gate)
    quick = [
        count for gate in counts for number, count in enumerate(gate) if number // each % 5 != 4 and number < 50 * each
    ]
    assert statistics.mean(quick) > 0.9  # nobody was slowed or skipped for the slow one


def test_a_network_recovers_in_the_blink_of_an_eye() -> None:
    """No limit on the clock here; benchmarks/faults measures it. Each gate applies gradients again after each crash."""
    num = 20_000
    with ak.launch(gates(num), engine=Threads(2), supervision=AT_ONCE) as network:
        network.attach(training("train", 0, num, epochs=None))
        for turn in range(12):
            name = ("stem", "body", "head")[turn % 3]
            before = network.status().restarts
            wait_until(network, lambda: len(network.status().gates) == 3, what="all gates")
            version = _version(network, name)
            crash(network, name)
            wait_until(network, partial(_restarted, network, before), what="a restart")
            wait_until(network, partial(_newer, network, name, version), what="an update")
        network.detach("train")
        assert network.status().restarts == 12


def _restarted(network: ak.Network, before: int) -> bool:
    return network.status().restarts > before


def _newer(network: ak.Network, gate: str, version: int) -> bool:
    return _version(network, gate) > version


def _version(network: ak.Network, gate: str) -> int:
    return next((each.version for each in network.status().gates if each.name == gate), -1)
