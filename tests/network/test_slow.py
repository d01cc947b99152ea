"""Slow is not lost: what waits, or is computed for long, is computed once; a computation that hangs is noticed."""

import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Threads
from tests.waiting import limit

OFTEN = ak.Supervision(stall=0.3)
"""Gates tell ten times per second which batches they have in hand."""

SECONDS = 0.05
"""That a forward takes, and a backward."""

Batch = tuple[Tensor, Tensor]


class Slow(nn.Linear):
    """Waits in each forward, and in each backward, until an event has not come for a while."""

    computed: ClassVar[list[str]] = []
    event: ClassVar[threading.Event]

    def forward(self, x: Tensor) -> Tensor:
        self.work("forward")
        y = super().forward(x)
        y.register_hook(self._backward)  # type: ignore[no-untyped-call]
        return y

    def _backward(self, gradient: Tensor) -> None:
        self.work("backward")

    def work(self, what: str) -> None:
        self.computed.append(what)
        self.event.wait(SECONDS)


@pytest.fixture(autouse=True)
def _nothing_is_computed() -> None:
    Slow.computed.clear()
    Slow.event = threading.Event()


def batches(num: int) -> Iterator[Batch]:
    for _ in range(num):
        yield torch.randn(3, 2), torch.randn(3, 2)


def gates(num: int, computations: int) -> list[ak.Gate]:
    names = [f"g{number}" for number in range(num)]
    return [ak.Gate(name, Slow(2, 2), partial(SGD, lr=0.01), computations=computations) for name in names]


@pytest.mark.parametrize("computations", [1, 2])
@pytest.mark.parametrize(("num", "window", "wider"), [(1, 8, 8), (1, 1, 32), (3, 2, 16)])
def test_what_waits_for_longer_than_the_time_limit_is_computed_once(
    num: int, window: int, wider: int, computations: int
) -> None:
    """The window grows at once, and round trips take up to four times as long as the time limit."""
    amount, time_limit = 20 // num, limit(10 * SECONDS)
    training = ak.TrainingSentinel(
        "train", partial(batches, amount), nn.functional.mse_loss, in_flight=window, epochs=1, time_limit=time_limit
    )
    with ak.launch(gates(num, computations), engine=Threads(2, debug=True), supervision=OFTEN) as network:
        network.attach(training)
        network.set("train", in_flight=wider)
        (report,) = network.watch()
        status = network.status()
    assert report.samples == 3 * amount
    assert Counter(Slow.computed) == {"forward": num * amount, "backward": num * amount}
    assert [gate.version for gate in status.gates] == [amount] * num


def test_a_computation_that_hangs_is_noticed_behind_which_others_wait() -> None:
    class Hanging(Slow):
        def work(self, what: str) -> None:
            if what == "backward" and self.computed.count("backward") > 3:
                self.event.wait()
            super().work(what)

    stuck = ak.Gate("stuck", Hanging(2, 2), partial(SGD, lr=0.01), computations=1)
    training = ak.TrainingSentinel(
        "train", partial(batches, 20), nn.functional.mse_loss, in_flight=4, epochs=1, time_limit=limit(0.5)
    )
    with ak.launch([*gates(1, 1), stuck], engine=Threads(3, debug=True), supervision=OFTEN) as network:
        network.attach(training)
        with pytest.raises(
            ak.BatchLost, match=r"gate stuck has been computing batch \d of sentinel 'train' for .* hangs"
        ):
            list(network.watch())
        Slow.event.set()
