"""`pause` lets training stand still, and nothing else, until `go_on`."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Threads
from akkordeon.errors import AkkordeonError, NoAnswer
from tests.waiting import wait_until


def data() -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(5):
        yield torch.ones(2, 3), torch.ones(2, 3)


def launched(engine: Engine, module: nn.Module | None = None) -> ak.Network:
    gates = [ak.Gate("stem", module or nn.Linear(3, 3), partial(SGD, lr=0.01))]
    network = ak.launch([*gates, ak.Gate("head", nn.Linear(3, 3), partial(SGD, lr=0.01))], engine=engine)
    network.attach(ak.TrainingSentinel("train", data, mse_loss, in_flight=3))
    return network


def done(network: ak.Network) -> int:
    return next(each.done for each in network.status().sentinels if each.name == "train")


def test_training_stands_still_and_validation_goes_on(engine: Engine, tmp_path: Path) -> None:
    with launched(engine) as network:
        next(network.watch())
        network.pause()
        before = network.status()
        assert [(each.in_flight, each.name) for each in before.sentinels] == [(0, "train")]
        network.attach(ak.ValidationSentinel("check", data, mse_loss, every=0.05))
        checks = network.watch("check")
        for _ in range(3):
            next(checks)
        assert done(network) == before.sentinels[0].done
        assert [each.version for each in network.status().gates] == [each.version for each in before.gates]
        with pytest.raises(AkkordeonError, match="the network is paused; let it go on first"):
            network.save(tmp_path)
        network.go_on()
        reports = network.watch("train")
        seen = before.sentinels[0].done
        while done(network) == seen:
            next(reports)
        network.save(tmp_path)
        network.go_on()  # does nothing


def test_a_pause_that_comes_too_late_is_no_pause() -> None:
    gone_on = threading.Event()

    class Waits(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            gone_on.wait()
            return super().forward(x)

    with launched(Threads(2), Waits(3, 3)) as network:
        wait_until(lambda: network.status().sentinels[0].in_flight == 3, 20.0, "three batches in flight")
        with pytest.raises(NoAnswer):
            network.pause(timeout=0.05)
        gone_on.set()
        wait_until(lambda: done(network) > 20, 20.0, "training that goes on")
