"""Ctrl-C and SIGTERM, in processes of their own: what is in flight comes through, and is saved."""

import os
import signal
import threading
from pathlib import Path

import pytest
import typer

from akkordeon.cli.interrupt import Interrupts, Stop
from akkordeon.cli.output import reporting
from tests.system.command_line.calling import RECIPE, call, lines_of, running, write_recipe
from tests.waiting import limit

STOPPING = "stopping: waiting for the batches in flight (Ctrl-C again exits at once)"

STUCK = """
import threading
from functools import partial
import torch
from torch import nn
from torch.nn.functional import mse_loss as loss
from torch.optim import SGD
import akkordeon as ak

class Stuck(nn.Module):
    seen = 0  # of the class: state of its own would be noticed

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(1, 1)

    def forward(self, x):
        type(self).seen += 1
        if self.seen == 20:
            print("stuck", flush=True)
            threading.Event().wait()
        return self.inner(x)

def gates():
    return [ak.Gate("stuck", Stuck(), partial(SGD, lr=0.1))]

def batches(split, take=slice(None)):
    return [(torch.ones(2, 1), torch.ones(2, 1))] * 10
"""


ENDLESS = """
all_of = batches
def batches(split, take=slice(None)):
    yield from all_of(split, take)
    while split == 'train':
        yield from all_of(split, take)
"""


@pytest.mark.parametrize(
    ("number", "code", "recipe", "options", "begun"),
    [
        (signal.SIGINT, 130, RECIPE, ("--epochs", 10**6), "epoch    2"),
        (signal.SIGTERM, 143, RECIPE + ENDLESS, ("--validate-every", "0.1"), "validation"),
    ],
    ids=["Ctrl-C", "SIGTERM midway"],
)
def test_a_signal_lets_the_batches_in_flight_through_and_saves(
    tmp_path: Path, number: signal.Signals, code: int, recipe: str, options: tuple[object, ...], begun: str
) -> None:
    file = write_recipe(tmp_path, recipe)
    with running("run", file, *options, "--save", tmp_path / "saved") as run:
        run.wait_for(begun)
        run.signal(number)
        assert run.end() == code
        assert run.written["stderr"] == f"{STOPPING}\n"
        *_, trained, saved, kept = lines_of(run.written["stdout"])
        assert trained.startswith("trained for ")
        assert ("(incomplete)" in run.written["stdout"]) or recipe == RECIPE
        assert kept.startswith("the run is kept in ")
        assert saved == f"saved to {tmp_path / 'saved' / 'v000001'}"
        assert any((tmp_path / "saved").rglob("*.safetensors"))
        with pytest.raises(ProcessLookupError):  # nobody of its session is left
            os.killpg(run.process.pid, 0)
    tested = call("test", file, "--resume", tmp_path / "saved")
    assert tested.exit_code == 0, tested.output


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    with running("run", write_recipe(tmp_path, STUCK), "--save", tmp_path / "saved") as run:
        run.wait_for("stuck")
        run.signal(signal.SIGINT)
        run.wait_for(STOPPING, "stderr")
        run.signal(signal.SIGINT)
        assert run.end() == 130
        assert run.written["stderr"] == f"{STOPPING}\n"
    assert not (tmp_path / "saved").exists()


def test_a_signal_before_training_stops_silently(tmp_path: Path) -> None:
    slow = write_recipe(tmp_path, "import threading\nprint('loading', flush=True)\nthreading.Event().wait()\n")
    with running("run", slow) as run:
        run.wait_for("loading")
        run.signal(signal.SIGINT)
        assert run.end() == 130
        assert run.written["stderr"] == ""


def test_a_run_outside_the_main_thread_leaves_signals_alone(recipe: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(call("run", recipe, "--epochs", "1").exit_code))
    thread.start()
    thread.join(limit(30))
    assert codes == [0]
    assert signal.getsignal(signal.SIGINT) is before


def test_signal_handlers_are_restored(recipe: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert call("run", recipe, "--epochs", "1").exit_code == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_during_work_is_handled_after_it() -> None:
    finished = threading.Event()
    with Interrupts() as interrupts:
        with interrupts.gently(finished.set):
            signal.raise_signal(signal.SIGTERM)
            assert finished.wait(limit(10))
        assert interrupts.code == 143


def test_a_signal_in_native_code_ends_the_run_without_a_crash() -> None:
    def native() -> None:
        try:
            raise Stop(130)
        except Stop as stop:
            raise SystemError("returned a result with an exception set") from stop

    with pytest.raises(typer.Exit) as found, reporting():
        native()
    assert found.value.exit_code == 130
    with pytest.raises(SystemError, match="another"), reporting():
        raise SystemError("another")
