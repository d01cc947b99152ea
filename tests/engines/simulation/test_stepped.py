"""What only the stepped engine promises: the same events for the same seed, and a clock of its own."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Actor, Context
from akkordeon.engines import Stepped
from akkordeon.errors import NoAnswer


def batches(num: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(num):
        yield torch.randn(3, 4, generator=generator), torch.randint(0, 2, (3,), generator=generator)


def run(seed: int) -> str:
    """Train two sentinels and validate in between; return the digest of events and the last loss."""
    torch.manual_seed(5)
    make = partial(SGD, lr=0.1)
    gates = [
        ak.Gate("stem", nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.2)), make, ak.DelayCompensation()),
        ak.Gate("head", nn.Linear(6, 2), make, computations=2),
    ]
    engine = Stepped(seed)
    with ak.launch(gates, engine=engine) as network:
        for name in ("one", "two"):
            network.attach(ak.TrainingSentinel(name, partial(batches, 12), cross_entropy, in_flight=3, epochs=2))
        network.attach(ak.ValidationSentinel("validation", partial(batches, 3), cross_entropy, every=0.2))
        losses = [f"{report.loss:.9f}" for report in network.watch()]
    return f"{engine.digest} {engine.steps} {' '.join(losses)}"


class Alarm(Actor):
    def __init__(self) -> None:
        self.rang: list[float] = []

    def receive(self, message: object, context: Context) -> object:
        if message == "ring":
            self.rang.append(context.now())
        elif isinstance(message, float):
            context.tell_later(message, "ring")
        return list(self.rang)


def test_another_seed_gives_another_order() -> None:
    assert len({run(seed).split()[0] for seed in range(3)}) == 3


def test_the_clock_jumps_to_the_next_timer_when_nothing_else_can_happen() -> None:
    engine = Stepped()
    alarm = engine.spawn("alarm", Alarm)
    for seconds in (1e6, 5e5):
        alarm.tell(seconds)
    engine.run()
    assert [round(when, -1) for when in alarm.ask("?", timeout=1.0)] == [5e5, 1e6]
    engine.close()


def test_a_wait_ends_at_its_virtual_time_limit() -> None:
    engine = Stepped()
    inbox = engine.inbox("inbox")
    engine.spawn("alarm", Alarm).tell(1e9)
    with pytest.raises(NoAnswer, match=r"within 100000 s"):
        inbox.take(timeout=1e5)
    assert engine.time == pytest.approx(1e5)
    engine.close()


def test_a_day_of_validations_takes_no_day() -> None:
    with ak.launch([ak.Gate("only", nn.Linear(4, 2), partial(SGD, lr=0.1))], engine=Stepped()) as network:
        network.attach(ak.ValidationSentinel("v", partial(batches, 1), cross_entropy, every=3600.0, epochs=24))
        assert [report.epoch for report in network.watch()] == list(range(1, 25))


def test_ctrl_c_reaches_the_waiting_caller_and_ends_no_actor() -> None:
    def interrupt(output: Tensor, target: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with ak.launch([ak.Gate("only", nn.Linear(4, 2), partial(SGD, lr=0.1))], engine=Stepped()) as network:
        network.attach(ak.TrainingSentinel("train", partial(batches, 2), interrupt))
        with pytest.raises(KeyboardInterrupt):
            list(network.watch())
        assert [sentinel.name for sentinel in network.status().sentinels] == ["train"]
