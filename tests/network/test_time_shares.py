"""Where the time of a gate goes: exact in the simulation, and as a script of known shares says on threads."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Delays, Stepped, Threads
from akkordeon.gate.random_state import RANDOM_LOCK
from akkordeon.gate.status import nbytes
from tests.waiting import wait_until

BATCHES = 8

TURNS = {"Forward": 2**-7, "Forward then": 2**-6, "Backward": 2**-8, "Backward then": 2**-5, "Validate": 2**-9}
WORKS = {"Forward": 0.25, "Backward": 0.5, "Validate": 0.125}
"""Seconds by kind; sums of powers of two are exact."""


def data() -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(2, 4), torch.randn(2, 4)) for _ in range(BATCHES)]


def of_gates(times: dict[str, float]) -> Callable[[random.Random, str, str], float]:
    return lambda _random, actor, kind: times.get(kind, 0.0) if actor.startswith("gate") else 0.0


def stepped(**settings: Any) -> Stepped:
    return Stepped(0, delays=Delays(link=0.0, turn=of_gates(TURNS), work=of_gates(WORKS)), **settings)


def gate(name: str, module: nn.Module | None = None) -> ak.Gate:
    return ak.Gate(name, module or nn.Linear(4, 4), partial(SGD, lr=0.01))


def run(engine: Engine, gates: list[ak.Gate], **settings: Any) -> tuple[list[ak.GateStatus], float]:
    """Train one epoch; return what the gates say of it, and how long the clock of the engine ran beside them."""
    with ak.launch(gates, engine=engine) as network:
        before, began = network.status().gates, engine.now()
        network.attach(ak.TrainingSentinel("train", data, mse_loss, epochs=1, **settings))
        list(network.watch())
        after, seconds = network.status().gates, engine.now() - began
    for old, new in zip(before, after, strict=True):
        assert set(old.spent) == set(new.spent)
        for what, spent in old.spent.items():
            new.spent[what] -= spent  # type: ignore[index]
    return list(after), seconds


def test_time_shares_are_exact_in_the_simulation() -> None:
    (status,), seconds = run(stepped(), [gate("only")], in_flight=2)
    forward = TURNS["Forward"] + WORKS["Forward"] + TURNS["Forward then"]
    assert status.spent["forward"] == BATCHES * forward
    assert status.spent["backward"] == BATCHES * (TURNS["Backward"] + WORKS["Backward"])
    assert status.spent["update"] == BATCHES * TURNS["Backward then"]
    assert status.spent["evaluation"] == status.spent["lock"] == 0.0
    assert sum(status.spent.values()) == pytest.approx(seconds, abs=1e-9)


def test_evaluation_is_told_apart_from_training() -> None:
    engine = stepped()
    with ak.launch([gate("only")], engine=engine) as network:
        network.attach(ak.TestSentinel("test", data, mse_loss))
        list(network.watch())
        (status,) = network.status().gates
    assert status.spent["evaluation"] == BATCHES * (TURNS["Validate"] + WORKS["Validate"])
    assert status.spent["forward"] == status.spent["backward"] == status.spent["update"] == 0.0


def test_gates_that_share_a_worker_are_ready_while_it_is_busy_with_another() -> None:
    gates, seconds = run(stepped(workers=1), [gate("first"), gate("last")], in_flight=4)
    computing = [sum(each.spent[what] for what in ("forward", "backward", "update")) for each in gates]
    assert sum(computing) <= seconds
    for status in gates:
        assert sum(status.spent.values()) == pytest.approx(seconds, abs=1e-9)
        assert status.spent["ready"] > 0.1 * seconds


class Clocked(nn.Module):
    """Sleeps in forward and backward, and notes for how long, as its own clock says."""

    def __init__(self, forward: float, backward: float) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.sleeps = Sleeps(forward), Sleeps(backward)

    def forward(self, x: Tensor) -> Tensor:
        self.sleeps[0]()
        later: Tensor = SlowBackward.apply(x, self.sleeps[1])  # type: ignore[no-untyped-call]
        return torch.as_tensor(self.linear(later))


class Sleeps:
    """Sleeps, and adds up for how long it did."""

    total = 0.0

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __deepcopy__(self, memo: object) -> "Sleeps":
        return self  # replicas share it

    def __call__(self) -> None:
        began = time.monotonic()
        threading.Event().wait(self.seconds)
        self.total += time.monotonic() - began


class SlowBackward(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sleeps: Sleeps) -> Tensor:
        ctx.sleeps = sleeps
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.sleeps()
        return gradients[0], None


def test_time_shares_are_those_of_a_scripted_load_on_threads() -> None:
    module, in_loss = Clocked(0.08, 0.12), Sleeps(0.2)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        in_loss()
        return mse_loss(output, target)

    engine = Threads(1)
    with ak.launch([gate("only", module)], engine=engine) as network:
        (before,) = network.status().gates
        began = time.monotonic()
        network.attach(ak.TrainingSentinel("train", lambda: data()[:5], loss, epochs=1, in_flight=1))
        list(network.watch())
        (after,) = network.status().gates
        seconds = time.monotonic() - began
    engine.close()
    spent = {what: after.spent[what] - before.spent[what] for what in after.spent}
    forward, backward = (each.total for each in module.sleeps)
    scripted = {"forward": forward, "backward": backward, "starved": seconds - forward - backward}
    assert scripted["starved"] >= in_loss.total
    for what, share in scripted.items():
        assert abs(spent[what] - share) <= 0.03 * seconds, what
    assert abs(sum(spent.values()) - seconds) <= 0.05 * seconds


def test_time_in_the_mailbox_is_what_messages_wait_for_the_gate() -> None:
    (status,), _ = run(stepped(), [gate("only")], in_flight=2)
    p50, p95 = status.in_mailbox
    service = TURNS["Backward"] + WORKS["Backward"] + TURNS["Backward then"]
    assert 0 < p50 <= p95 <= 2 * service


def test_waiting_for_the_random_lock_is_told_apart() -> None:
    with ak.launch([gate("only")], engine=Threads(2)) as network:
        with RANDOM_LOCK:  # the first forward of a gate takes it, since it may draw
            # With a seed of its own, the sentinel needs no lock to begin.
            network.attach(ak.TrainingSentinel("train", data, mse_loss, epochs=1, in_flight=1, seed=1))
            wait_until(lambda: network.status().gates[0].open == 1, 20.0, "a batch at the gate")
            began = time.monotonic()
            wait_until(lambda: time.monotonic() - began > 0.2, 20.0, "some time")
            held = time.monotonic() - began
        list(network.watch())
        (status,) = network.status().gates
    assert held <= status.spent["lock"] <= 2 * held
    assert status.spent["forward"] < held


def test_messages_and_bytes_are_counted_each_way() -> None:
    (first, last), _ = run(stepped(), [gate("first"), gate("last")], in_flight=2)
    size = 2 * 4 * 4  # two samples of four floats
    assert first.sent == {"downstream": (BATCHES, BATCHES * size), "upstream": (0, 0)}
    assert last.sent == {"downstream": (BATCHES, BATCHES * size), "upstream": (BATCHES, BATCHES * size)}


def test_a_sentinel_says_how_long_it_waited_for_its_data() -> None:
    pause = Sleeps(0.05)

    def slowly() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in data():
            pause()
            yield batch

    seen: list[ak.SentinelStatus] = []
    with ak.launch([gate("only")], engine=Threads(2)) as network:
        network.attach(ak.TrainingSentinel("train", slowly, mse_loss, epochs=2, in_flight=2))
        next(network.watch())
        seen += network.status().sentinels
    assert 0.5 * pause.total <= seen[0].waiting_for_data <= pause.total + 1.0


def test_bytes_of_sparse_tensors_are_those_of_their_parts() -> None:
    dense = torch.eye(4)
    sparse = dense.to_sparse()
    assert nbytes([dense, None, sparse]) == 16 * 4 + (2 * 4 * 8 + 4 * 4)
    assert nbytes([dense.to_sparse_csr()]) == 5 * 8 + 4 * 8 + 4 * 4
    assert nbytes([dense.to_mkldnn()]) >= 0
