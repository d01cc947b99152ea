"""Ctrl-C and SIGTERM, in processes of their own: what is in flight comes through, and is saved."""

import os
import signal
import threading
from pathlib import Path

import pytest
import typer

from akkordeon.cli.interrupt import Interrupts, Stop
from akkordeon.cli.output import reporting
from tests.cli.calling import RECIPE, call, lines_of, running, write_recipe

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
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(1, 1)
        self.seen = 0

    def forward(self, x):
        self.seen += 1
        if self.seen == 20:
            print("stuck", flush=True)
            threading.Event().wait()
        return self.inner(x)

def gates():
    return [ak.Gate("stuck", Stuck(), partial(SGD, lr=0.1))]

def batches(split, take=slice(None)):
    return [(torch.ones(2, 1), torch.ones(2, 1))] * 10
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_batches_in_flight_through_and_saves(
    recipe: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with running("run", recipe, "--epochs", 10**6, "--save", tmp_path / "saved") as run:
        run.wait_for("epoch    2")
        run.signal(number)
        assert run.end() == code
        assert run.written["stderr"] == f"{STOPPING}\n"
        *_, trained, saved = lines_of(run.written["stdout"])
        assert trained.startswith("trained for ")
        assert saved == f"saved to {tmp_path / 'saved' / 'v000001'}"
        assert any((tmp_path / "saved").rglob("*.safetensors"))
        with pytest.raises(ProcessLookupError):  # nobody of its session is left
            os.killpg(run.process.pid, 0)
    tested = call("test", recipe, "--resume", tmp_path / "saved")
    assert tested.exit_code == 0, tested.output


def test_what_stopped_midway_is_reported_as_incomplete(tmp_path: Path) -> None:
    endless = (
        "\nall_of = batches\n"
        "def batches(split, take=slice(None)):\n"
        "    yield from all_of(split, take)\n"
        "    while split == 'train':\n"
        "        yield from all_of(split, take)\n"
    )
    recipe = write_recipe(tmp_path, RECIPE + endless)
    with running("run", recipe, "--validate-every", "0.1") as run:
        run.wait_for("validation")
        run.signal(signal.SIGINT)
        assert run.end() == 130
        assert "(incomplete)" in run.written["stdout"]


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    with running("run", write_recipe(tmp_path, STUCK), "--save", tmp_path / "saved") as run:
        run.wait_for("stuck")
        run.signal(signal.SIGINT)
        run.wait_for(STOPPING, "stderr")
        run.signal(signal.SIGINT)
        assert run.end() == 130
        assert run.written["stderr"] == f"{STOPPING}\n"
    assert not (tmp_path / "saved").exists()


def test_a_signal_before_anything_runs_stops_without_a_word(tmp_path: Path) -> None:
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
    thread.join(30)
    assert codes == [0]
    assert signal.getsignal(signal.SIGINT) is before


def test_handlers_are_put_back(recipe: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert call("run", recipe, "--epochs", "1").exit_code == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_while_work_is_under_way_raises_nothing_there_and_is_waited_for() -> None:
    finished = threading.Event()
    with Interrupts() as interrupts:
        with interrupts.gently(finished.set):
            signal.raise_signal(signal.SIGTERM)
            assert finished.wait(10)
        assert interrupts.code == 143


def test_a_signal_in_native_code_is_the_signals_end_and_no_crash() -> None:
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
