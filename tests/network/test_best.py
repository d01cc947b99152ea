"""`keep_best` keeps the save that belongs to the best report, and `patience` ends training."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Stepped, Threads
from akkordeon.errors import SaveFailed, WiringError
from akkordeon.messages.reports import Report
from akkordeon.network.best import Best


@pytest.fixture(params=[partial(Threads, 2), partial(Stepped, seed=1)], ids=["threads", "stepped"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine: Engine = request.param()
    yield engine
    engine.close()


def gates() -> list[ak.Gate]:
    torch.manual_seed(0)
    return [ak.Gate("only", nn.Linear(2, 1), partial(SGD, lr=0.01))]


def batches() -> list[tuple[Tensor, Tensor]]:
    return [(torch.ones(3, 2), torch.ones(3, 1))]


class Scripted:
    """A metric of known values, one per epoch."""

    def __init__(self, *values: float) -> None:
        self._values = iter(values)

    def __call__(self, output: Tensor, target: Tensor) -> float:
        return next(self._values)


def training(values: list[float], epochs: int) -> ak.TrainingSentinel:
    metrics = {"figure": Scripted(*values)}
    return ak.TrainingSentinel("train", batches, nn.functional.mse_loss, metrics, epochs=epochs, in_flight=1)


def test_the_best_epoch_is_the_one_that_is_kept(engine: Engine, tmp_path: Path) -> None:
    saved = []
    with ak.launch(gates(), engine=engine, run=tmp_path, keep_best="train.figure") as network:
        network.attach(training([0.125, 0.75, 0.5, math.nan, 0.75], epochs=5))
        assert network.best is not None
        for report in network.watch():
            weights = ak.load(tmp_path / "best", gates()).state_dict()["only.weight"]
            saved.append((report.epoch, network.best.value, weights))
    assert [value for _, value, _ in saved] == [0.125, 0.75, 0.75, 0.75, 0.75]
    assert network.best.report is not None
    assert network.best.report.epoch == 2
    assert all(torch.equal(weights, saved[1][2]) for _, _, weights in saved[1:])


def test_a_loss_is_best_where_it_is_least_and_others_as_they_say() -> None:
    def kept(figure: str) -> float:
        best = Best(figure, Path())
        for epoch, value in enumerate((0.5, 0.2, 0.9), 1):
            best.take(report(epoch, value), lambda _: None, lambda: None)
        return best.value

    assert kept("s.loss") == kept("s.figure:min") == 0.2
    assert kept("s.figure") == kept("s.loss:max") == 0.9


def report(epoch: int, value: float, *, complete: bool = True) -> Report:
    return Report("s", "validate", epoch, 1, value, {"figure": value}, 1.0, complete=complete)


def test_patience_ends_training(engine: Engine, tmp_path: Path) -> None:
    with ak.launch(gates(), engine=engine, run=tmp_path, keep_best="train.figure", patience=3) as network:
        network.attach(training([0.125, 0.5, 0.25, 0.25, 0.5, *[0.0] * 1000], epochs=1000))
        reports = list(network.watch())
        assert network.best is not None
        assert network.best.value == 0.5
    assert 5 <= len(reports) < 1000


def fail(_: Path) -> None:
    raise SaveFailed("disk full")


def test_an_incomplete_epoch_is_not_the_best_and_a_save_that_fails_costs_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    best = Best("s.figure", Path("x"))
    best.take(report(1, 5.0, complete=False), fail, lambda: None)
    assert math.isnan(best.value)
    best.take(report(2, 1.0), fail, lambda: None)
    assert "the best so far, epoch 2, could not be saved: disk full" in caplog.text


def test_what_is_no_figure_is_refused_by_name(tmp_path: Path) -> None:
    for wrong in ("accuracy", "validation.", "validation.loss:low"):
        with pytest.raises(WiringError, match="names no figure of a sentinel"):
            ak.launch(gates(), run=tmp_path, keep_best=wrong)
    with pytest.raises(WiringError, match="needs run="):
        ak.launch(gates(), keep_best="train.loss")
    with pytest.raises(WiringError, match="at least 1 report"):
        ak.launch(gates(), run=tmp_path, keep_best="train.loss", patience=0)
    with pytest.raises(WiringError, match="sentinel 's' reports no 'acuracy'; it reports loss, figure"):
        Best("s.acuracy", tmp_path).take(report(1, 1.0), fail, lambda: None)
