"""Figures show what was reported, of one run or of several."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Threads
from akkordeon.errors import RunUnreadable, WiringError
from akkordeon.views.plotting import PlottedRun, plot
from tests.system.command_line.calling import call
from tests.views import made_up

OLD = Path(__file__).parents[1] / "network" / "runs" / "schema-1"


def report(sentinel: str, kind: str, epoch: int, loss: float | None, **metrics: float) -> dict[str, Any]:
    counts = {"stem": {"counts": {"0": 1, "2": 3}}} if kind == "train" else {}
    return {
        "event": "report", "t": 10.0 * epoch, "sentinel": sentinel, "kind": kind, "epoch": epoch, "samples": 100,
        "loss": loss, "metrics": metrics, "staleness": counts,
    }  # fmt: skip


def a_run(name: str) -> PlottedRun:
    events = [report("train", "train", 1, 0.5), report("check", "validate", 1, 0.4, accuracy=0.8)]
    events += [report("train", "train", 2, None), report("train", "train", 3, 0.2)]
    return PlottedRun(name, [*events, made_up.gate("stem", 30.0)])


def test_curves_are_what_was_reported() -> None:
    figure: Any = plot([a_run("mine")])
    loss, accuracy, by_samples = figure.axes[0], figure.axes[1], figure.axes[2]
    train, check = loss.lines
    assert (list(train.get_xdata()), list(train.get_ydata())) == ([10.0, 30.0], [0.5, 0.2])
    assert (list(check.get_xdata()), list(check.get_ydata())) == ([10.0], [0.4])
    assert list(by_samples.lines[0].get_xdata()) == [100.0, 300.0]
    assert [list(line.get_ydata()) for line in accuracy.lines] == [[], [0.8]]
    (staleness,) = figure.axes[4].lines
    assert list(staleness.get_xdata()) == [0, 2]
    assert list(staleness.get_ydata()) == [0.25, 1.0]
    wide = {bar.get_label(): bar.patches[0].get_width() for bar in figure.axes[5].containers}
    assert wide == pytest.approx(made_up.SHARES)


def test_several_runs_stand_side_by_side() -> None:
    figure: Any = plot([a_run("one"), a_run("two")])
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert labels == ["one: train", "one: check", "two: train", "two: check"]
    styles = [line.get_linestyle() for line in figure.axes[0].lines]
    assert styles == ["-", "-", "--", "--"]


def test_the_command_writes_text_as_text(tmp_path: Path) -> None:
    file = tmp_path / "figure.svg"
    result = call("plot", OLD, OLD, "--out", file)
    assert result.exit_code == 0, result.output
    assert f"written to {file}" in result.stdout
    text = file.read_text()
    assert "staleness, updates</text>" in text
    assert "schema-1: train</text>" in text


def test_a_running_network_can_be_plotted() -> None:
    torch.manual_seed(0)
    gates = [ak.Gate("only", nn.Linear(2, 1), partial(SGD, lr=0.1))]
    with ak.launch(gates, engine=Threads(2)) as network:
        with pytest.raises(RunUnreadable, match="has no report yet"):
            network.plot()
        network.attach(ak.TrainingSentinel("t", lambda: [(torch.ones(1, 2), torch.ones(1, 1))], mse_loss, epochs=3))
        losses = [each.loss for each in network.watch()]
        figure: Any = network.plot()
        assert list(figure.axes[0].lines[0].get_ydata()) == losses


def test_what_is_wrong_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = call("plot", tmp_path)
    assert result.exit_code == 1
    assert f"{tmp_path} holds no run" in result.stderr
    result = call("plot", OLD, "--out", tmp_path / "figure.docx")
    assert result.exit_code == 2
    assert "cannot write" in result.stderr
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(WiringError, match="akkordeon\\[plot\\]"):
        plot([a_run("mine")])
