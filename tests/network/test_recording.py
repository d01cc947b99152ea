"""What happens in a network reaches run folders, sinks and hooks, and none of these can harm the run."""

import csv
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Stepped, Threads
from akkordeon.network import recording
from akkordeon.network.events import Event
from akkordeon.views.reading import read_events
from tests.waiting import limit
from tests.waiting import wait_until as wait_outside

SOURCES = Path(__file__).parents[2]

EPOCHS, BATCHES, SIZE = 3, 6, 4


@pytest.fixture(params=[partial(Threads, 2, debug=True), partial(Stepped, seed=1)], ids=["threads", "stepped"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine: Engine = request.param()
    yield engine
    engine.close()


def gates() -> list[ak.Gate]:
    torch.manual_seed(0)
    make = partial(SGD, lr=0.1)
    return [ak.Gate("body", nn.Sequential(nn.Linear(8, 8), nn.Tanh()), make), ak.Gate("head", nn.Linear(8, 3), make)]


def batches() -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(SIZE, 8), torch.randint(0, 3, (SIZE,))) for _ in range(BATCHES)]


def training(**settings: Any) -> ak.TrainingSentinel:
    metrics = {"accuracy": ak.accuracy}
    return ak.TrainingSentinel("train", batches, cross_entropy, metrics, in_flight=2, **{"epochs": EPOCHS, **settings})


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False

    def write(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.closed = True

    def of(self, kind: str) -> list[Any]:
        return [event.record for event in self.events if event.kind == kind]


def trained(engine: Engine, **settings: Any) -> list[ak.Report]:
    with ak.launch(gates(), engine=engine, **settings) as network:
        network.attach(training())
        return list(network.watch())


def test_a_sink_gets_every_report_and_who_came_and_went(engine: Engine) -> None:
    sink = Kept()
    reports = trained(engine, sinks=[sink])
    assert sink.closed
    assert [each.loss for each in sink.of("report")] == [each.loss for each in reports]
    assert [each.sentinel for each in sink.of("attach")] == ["train"] == [each.sentinel for each in sink.of("detach")]
    kinds = [event.kind for event in sink.events]
    assert kinds.index("attach") < kinds.index("report") < kinds.index("detach")


def test_a_sink_sees_how_gates_and_sentinels_stand_while_they_train(engine: Engine) -> None:
    sink, seen = Kept(), threading.Event()
    sink_write = sink.write

    def write(event: Event) -> None:
        sink_write(event)
        if event.kind == "sentinel" and event.record.losses:
            seen.set()

    sink.write = write  # type: ignore[method-assign]
    with ak.launch(gates(), engine=engine, sinks=[sink]) as network:
        network.attach(training(epochs=None, seconds=1e6))
        reports = network.watch()
        while not seen.is_set():
            next(reports)
        status = network.status()
    assert {each.name for each in sink.of("gate")} == {"body", "head"}
    latest = [each for each in sink.of("gate") if each.name == "body"][-1]
    assert latest.version <= status.gates[0].version
    assert set(latest.spent) == {"forward", "backward", "update", "evaluation", "lock", "ready", "starved"}
    losses = next(each.losses for each in sink.of("sentinel") if each.losses)
    assert all(batch > 0 and 0 < loss < 10 for batch, loss in losses)
    assert [batch for batch, _ in losses] == sorted(batch for batch, _ in losses)


def test_outputs_of_a_test_go_to_the_watcher_alone(engine: Engine) -> None:
    sink = Kept()
    with ak.launch(gates(), engine=engine, sinks=[sink]) as network:
        network.attach(ak.TestSentinel("test", batches, cross_entropy))
        (report,) = network.watch()
    assert len(report.outputs) == BATCHES
    assert [each.outputs for each in sink.of("report")] == [()]


def test_the_run_folder_says_what_the_run_was_and_what_happened(engine: Engine, tmp_path: Path) -> None:
    reports = trained(engine, run=tmp_path / "runs" / "one")
    about = json.loads((tmp_path / "runs" / "one" / "run.json").read_text())
    assert about["schema"] == 2
    assert about["packages"]["torch"] == torch.__version__
    events = list(read_events(tmp_path / "runs" / "one"))
    found = [each for each in events if each["event"] == "report"]
    assert [each["loss"] for each in found] == [each.loss for each in reports]
    assert {"attach", "detach", "gate"} <= {each["event"] for each in events}
    assert all("outputs" not in each for each in found)


def test_changes_and_saves_are_events(engine: Engine, tmp_path: Path) -> None:
    sink = Kept()
    with ak.launch(gates(), engine=engine, sinks=[sink]) as network:
        network.attach(training(epochs=None, seconds=1e6))
        next(network.watch())
        network.set("body", lr=0.5)
        path = network.save(tmp_path)
    assert [(each.name, each.settings) for each in sink.of("set")] == [("body", {"lr": 0.5})]
    assert [each.path for each in sink.of("save")] == [str(path)]


def test_the_restart_of_a_gate_is_an_event() -> None:
    sink, failed = Kept(), threading.Event()

    class Once(SGD):
        def step(self, closure: Any = None) -> Any:
            if not failed.is_set():
                failed.set()
                raise ValueError("broken by the test")
            return super().step(closure)

    broken = ak.Gate("head", nn.Linear(8, 3), lambda parameters: Once(parameters, lr=0.1))
    with ak.launch([gates()[0], broken], engine=Threads(2), sinks=[sink]) as network:
        network.attach(training())
        list(network.watch())
    (restart,) = sink.of("restart")
    assert restart.gate == "head"
    assert "broken by the test" in restart.text


def test_a_folder_that_cannot_be_written_costs_a_warning(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert len(trained(engine, run=tmp_path / "file" / "run")) == EPOCHS
    assert f"cannot keep this run in {tmp_path / 'file' / 'run'}" in caplog.text


def test_a_sink_that_raises_loses_its_events_and_no_more(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    class Full:
        def write(self, _event: Event) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    kept = Kept()
    assert len(trained(engine, sinks=[Full(), kept])) == EPOCHS
    assert len(kept.of("report")) == EPOCHS
    assert "sink Full raised OSError: [Errno 28] No space left on device; the run goes on" in caplog.text
    assert "sink Full has lost" in caplog.text


def test_a_sink_that_hangs_holds_up_nobody(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "PATIENCE", 0.1)
    monkeypatch.setattr(recording, "QUEUED", 2)
    go_on = threading.Event()

    class Hangs(Kept):
        def write(self, event: Event) -> None:
            go_on.wait()

    assert len(trained(Threads(2), sinks=[Hangs()])) == EPOCHS
    go_on.set()
    assert "sink Hangs takes its events too slowly" in caplog.text
    assert "sink Hangs is left behind" in caplog.text


# Hooks and history


def test_hooks_get_records_in_order_and_may_raise(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def broken(_report: ak.Report) -> None:
        raise ZeroDivisionError("broken by the test")

    with ak.launch(gates(), engine=engine) as network:
        network.on("report", broken)
        network.on("report", seen.append)
        network.on("detach", seen.append)
        network.attach(training())
        reports = list(network.watch())
    assert [each.loss for each in seen[:-1]] == [each.loss for each in reports]
    assert seen[-1].sentinel == "train"
    assert "ZeroDivisionError: broken by the test" in caplog.text


def test_a_hook_is_called_with_what_happens_from_then_on(engine: Engine) -> None:
    seen: list[Any] = []
    with ak.launch(gates(), engine=engine) as network:
        network.attach(training())
        list(network.watch())
        network.on("report", seen.append)
        network.attach(training())
        reports = list(network.watch())
    assert [each.loss for each in seen] == [each.loss for each in reports]


def test_a_hook_for_what_does_not_exist_is_refused(engine: Engine) -> None:
    with (
        ak.launch(gates(), engine=engine) as network,
        pytest.raises(ak.WiringError, match="'reports'; there are: alarm"),
    ):
        network.on("reports", print)


def test_history_has_a_row_per_report(engine: Engine) -> None:
    with ak.launch(gates(), engine=engine) as network:
        assert network.history() == {name: [] for name in ("seconds", "sentinel", "kind", "epoch", "samples", "loss")}
        network.attach(training())
        reports = list(network.watch())
        network.attach(ak.ValidationSentinel("validation", batches, cross_entropy))
        (last,) = network.watch()
        history = network.history()
    assert history["epoch"] == [1, 2, 3, 1]
    assert history["loss"] == [*(each.loss for each in reports), last.loss]
    assert history["accuracy"] == [*(each.metrics["accuracy"] for each in reports), None]
    assert history["seconds"] == sorted(history["seconds"])


# Files


def test_numbers_are_written_as_a_table(engine: Engine, tmp_path: Path) -> None:
    reports = trained(engine, sinks=[ak.Csv(tmp_path / "numbers.csv")])
    with (tmp_path / "numbers.csv").open(newline="") as file:
        rows = [each for each in csv.DictReader(file) if each["series"] == "train/accuracy"]
    assert [int(each["step"]) for each in rows] == [1, 2, 3]
    assert [float(each["value"]) for each in rows] == [each.metrics["accuracy"] for each in reports]


def test_tensorboard_reads_back_what_was_written(engine: Engine, tmp_path: Path) -> None:
    reports = trained(engine, sinks=[ak.TensorBoard(tmp_path)])
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    found = [(each.step, each.value) for each in events.Scalars("train/accuracy")]
    assert found == [(each.epoch, pytest.approx(each.metrics["accuracy"])) for each in reports]


def test_samples_are_thinned_and_what_happens_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akkordeon.network.run_folder.BURST", 1_000)
    monkeypatch.setattr("akkordeon.network.run_folder.BYTES_PER_SECOND", 0)
    folder = ak.RunFolder(tmp_path)
    folder.open()
    status = ak.GateStatus("body", 1, 0, ak.Histogram({1: 2}), {})
    report = ak.Report("train", "train", 1, 4, 0.5, {}, 1.0)
    for number in range(100):
        folder.write(Event(number, status))
    folder.write(Event(100.0, report))
    folder.close()
    events = list(read_events(tmp_path))
    assert [each["event"] for each in events].count("report") == 1
    assert 1 < len(events) < 20
    assert events[-1]["thinned"] == 100 - (len(events) - 1)


KILLED = """
import sys
from tests.network.test_recording import *
network = ak.launch(gates(), engine=Threads(2), run=sys.argv[1])
network.attach(training(epochs=None, seconds=1e6))
for report in network.watch():
    print(report, flush=True)
"""


def test_a_process_that_is_killed_leaves_a_readable_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, cwd=SOURCES, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()

        def reports() -> list[Any]:
            return [each for each in read_events(tmp_path) if each["event"] == "report"]

        wait_outside(lambda: len(reports()) >= 2, 30.0, "two reports in the folder")
        process.send_signal(signal.SIGKILL)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"t":1,"event":"rep')
    assert len(reports()) >= 2
    assert json.loads((tmp_path / "run.json").read_text())["schema"] == 2


FULL = """
import resource, sys
from tests.network.test_recording import *
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))  # as a disk that is full from there on
with ak.launch(gates(), engine=Threads(2), run=sys.argv[1]) as network:
    network.attach(training(epochs=200))
    print(sum(report.complete for report in network.watch()))
"""


def test_a_full_disk_costs_events_and_not_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, check=True, timeout=limit(50.0))
    assert done.stdout.split() == ["200"]
    assert "sink RunFolder raised OSError" in done.stderr
    kept = [each for each in read_events(tmp_path) if each["event"] == "report"]
    assert 10 < len(kept) < 200


def test_a_folder_of_an_older_schema_opens() -> None:
    folder = Path(__file__).parent / "runs" / "schema-1"
    assert json.loads((folder / "run.json").read_text())["schema"] == 1
    kinds = [each["event"] for each in read_events(folder)]
    assert kinds.count("report") == 4
    assert {"gate", "sentinel", "attach", "detach", "set"} <= set(kinds)


def test_weights_and_biases_keeps_a_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    trained(Threads(2), sinks=[ak.Wandb("project", mode="offline", settings={"width": 8})])
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"train/accuracy" in file.read_bytes()
