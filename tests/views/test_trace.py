"""A trace holds each traced batch whole, and Perfetto's own descriptors can read it."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Delays, Stepped, Threads
from akkordeon.errors import RunUnreadable, WiringError
from akkordeon.views.perfetto import make_trace, traced
from akkordeon.views.reading import read_events
from tests.system.command_line.calling import RECIPE, call, write_recipe
from tests.waiting import wait_until

BATCHES = 12


def gates() -> list[ak.Gate]:
    torch.manual_seed(0)
    make = partial(SGD, lr=0.01)
    return [ak.Gate(name, nn.Sequential(nn.Linear(4, 4), nn.Tanh()), make) for name in ("stem", "body", "head")]


def data() -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(20):
        yield torch.ones(2, 4), torch.ones(2, 4)


def train(engine: Engine, folder: Path, **settings: Any) -> None:
    with ak.launch(gates(), engine=engine, run=folder, **settings) as network:
        network.attach(ak.TrainingSentinel("train", data, mse_loss, in_flight=4, epochs=None, seconds=1e6))

        def enough() -> bool:
            return len({row.batch for row in traced(read_events(folder))}) >= BATCHES

        reports = network.watch()
        while not enough():
            next(reports)


def read_trace(content: bytes) -> Trace:
    trace = Trace()
    trace.ParseFromString(content)
    return trace


def check(content: bytes) -> None:
    """Check that tracks are unique, slices nested, and that each batch is whole, with a flow that begins and ends."""
    trace = read_trace(content)
    described = [packet.track_descriptor.uuid for packet in trace.packet if packet.HasField("track_descriptor")]
    assert len(described) == len(set(described))
    open_on: dict[int, Any] = {}
    slices: list[Any] = []
    for packet in sorted((p for p in trace.packet if p.HasField("track_event")), key=lambda p: p.timestamp):
        event = packet.track_event
        assert event.track_uuid in described
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            assert event.track_uuid not in open_on
            open_on[event.track_uuid] = packet
            slices.append(event)
        elif event.type == TrackEvent.TYPE_SLICE_END:
            assert open_on.pop(event.track_uuid).timestamp <= packet.timestamp
    assert not open_on
    flows: defaultdict[int, list[str]] = defaultdict(list)
    ended: defaultdict[int, int] = defaultdict(int)
    for event in slices:
        for flow in (*event.flow_ids, *event.terminating_flow_ids):
            flows[flow].append(event.name)
        for flow in event.terminating_flow_ids:
            ended[flow] += 1
    assert len(flows) >= BATCHES
    assert set(ended) == set(flows)
    assert set(ended.values()) == {1}
    for names in flows.values():
        (seq,) = {name.split()[1] for name in names}
        parts = [name.split()[0] for name in names]
        assert (parts.count("forward"), parts.count("backward"), parts.count("loss")) == (3, 3, 1), seq


def test_threads_trace_batches_whole(tmp_path: Path) -> None:
    train(Threads(2), tmp_path, trace=BATCHES)
    check(make_trace(read_events(tmp_path)))


def test_the_trace_of_a_simulation_is_the_same_each_time(tmp_path: Path) -> None:
    contents = []
    for run in ("one", "two"):
        train(Stepped(3, delays=Delays(turn=0.001)), tmp_path / run, trace=BATCHES)
        contents.append(make_trace(each for each in read_events(tmp_path / run) if each["event"] == "trace"))
        check(contents[-1])
    assert contents[0] == contents[1]


def test_a_running_network_can_be_traced_and_stops_by_itself(tmp_path: Path) -> None:
    with ak.launch(gates(), engine=Threads(2), run=tmp_path) as network:
        network.attach(ak.TrainingSentinel("train", data, mse_loss, in_flight=4))
        reports = network.watch()
        next(reports)
        assert not any(event["event"] == "trace" for event in read_events(tmp_path))
        network.trace(BATCHES)

        wait_until(lambda: len({row.batch for row in traced(read_events(tmp_path))}) >= BATCHES, 30.0, "batches")

        def quiet() -> bool:
            kinds = [event["event"] for event in read_events(tmp_path)]
            return "trace" not in kinds[kinds.index("trace") :][-20:]

        wait_until(quiet, 30.0, "the end of it")
    check(make_trace(read_events(tmp_path)))


def test_queue_and_staleness_are_counters(tmp_path: Path) -> None:
    train(Threads(2), tmp_path, trace=BATCHES)
    trace = read_trace(make_trace(read_events(tmp_path)))
    counters = [p.track_descriptor for p in trace.packet if p.track_descriptor.HasField("counter")]
    assert {each.name for each in counters} == {"queue", "staleness"}
    assert len(counters) == 6
    values = [p.track_event for p in trace.packet if p.track_event.type == TrackEvent.TYPE_COUNTER]
    assert len(values) >= 6


def test_the_command_traces_and_says_what_is_missing(tmp_path: Path) -> None:
    recipe, folder, out = write_recipe(tmp_path, RECIPE), tmp_path / "run", tmp_path / "mine.pftrace"
    assert call("run", recipe, "--epochs", 3, "--run", folder, "--trace", 5).exit_code == 0
    result = call("trace", folder, "--out", out)
    assert result.exit_code == 0, result.output
    assert len(read_trace(out.read_bytes()).packet) > 5 * 2 * 5
    assert call("run", recipe, "--epochs", 1, "--run", tmp_path / "other").exit_code == 0
    result = call("trace", tmp_path / "other", "--out", out)
    assert result.exit_code == 1
    assert "train with --trace N" in result.stderr
    assert "--no-run leaves that out" in call("run", recipe, "--trace", 5, "--no-run").stderr


def test_tracing_without_a_folder_is_refused() -> None:
    with pytest.raises(WiringError, match="needs run="):
        ak.launch(gates(), trace=5)
    with ak.launch(gates()) as network, pytest.raises(WiringError, match="launch\\(run="):
        network.trace(5)
    with pytest.raises(RunUnreadable, match="no batch was traced"):
        make_trace([])
