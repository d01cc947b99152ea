"""Events become a bounded number of frames, and nothing rare is lost."""

import json
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import pytest

from akkordeon.errors import RunUnreadable
from akkordeon.views.frames import MOST, Frames, in_order
from akkordeon.views.reading import Tail, newest_run, read_events
from tests.views import made_up

OLD = Path(__file__).parents[1] / "network" / "runs" / "schema-1"


def folded(events: list[dict[str, object]]) -> Frames:
    frames = Frames()
    frames.add(events)
    return frames


def test_frames_stay_bounded_however_long_a_run_is() -> None:
    found = folded(made_up.run(3600, gates=2, sentinels=2)).all()
    times = [frame["t"] for frame in found["frames"]]
    assert MOST / 2 <= len(times) <= MOST + 1
    assert times == sorted(times)
    assert times[-1] == 3599.5
    gaps = {round(after - before, 3) for before, after in pairwise(times[10:-1])}
    assert max(gaps) <= 2 * min(gaps)
    assert all(len(rows) <= MOST for rows in found["losses"].values())


def test_a_frame_holds_what_gates_and_sentinels_said() -> None:
    found = folded(made_up.run(10, gates=2, sentinels=1)).all()
    frame, columns = found["frames"][-1], found["gate"]
    g1 = dict(zip(columns, frame["g"]["g1"], strict=True))
    assert g1["version"] == 285
    assert g1["forward"] == pytest.approx(0.3 * 9.5)
    assert (g1["stale1"], g1["stale2"], g1["stale3"]) == (95, 190, 19)
    assert dict(zip(found["sentinel"], frame["s"]["s0"], strict=True))["samples"] == 64 * 285
    assert found["gates"] == ["g0", "g1"]
    assert frame["words"] == []


def test_rare_events_are_never_left_out() -> None:
    events = made_up.run(4000, gates=1, sentinels=0)
    rare = [{"t": float(t), "event": "set", "name": "g0", "settings": {"lr": t}} for t in range(0, 4000, 50)]
    found = folded(sorted([*events, *rare], key=itemgetter("t"))).all()
    kinds = [kind for _, kind, _ in found["ticks"]]
    assert kinds.count("set") == len(rare)
    assert found["ticks"][-1][2] == "g0: lr = 3950"


def test_what_is_new_is_told_once() -> None:
    frames = folded(made_up.run(5, gates=1, sentinels=1))
    mark = frames.all()["mark"]
    assert frames.since(mark)["ticks"] == []
    frames.add([made_up.sentinel("s0", 6.0), {"t": 6.0, "event": "restart", "gate": "g0", "text": "it raised"}])
    news = frames.since(mark)
    assert news["ticks"] == [[6.0, "restart", "it raised"]]
    assert [row[:1] for row in news["losses"]["s0"]] == [[6.0]]
    assert frames.since(news["mark"])["losses"]["s0"] == []


def test_gates_stand_in_the_order_of_the_chain_however_they_speak() -> None:
    gates = {name: {"upstream": before} for name, before in (("c", "b"), ("d", "c"), ("a", ""), ("b", "a"))}
    assert in_order(gates) == ["a", "b", "c", "d"]
    assert sorted(in_order({"a": {"upstream": "b"}, "b": {"upstream": "gone"}})) == ["a", "b"]


def test_a_run_of_an_older_schema_is_shown() -> None:
    found = folded(list(read_events(OLD))).all()
    assert found["gates"] == ["stem", "head"]
    assert len(found["reports"]) == 4


def test_a_file_that_grows_is_read_on_and_a_torn_line_waits_for_its_end(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"schema":2,"began":100}\n{"t":1,"event":"close"}\n{"t":2,"ev')
    tail = Tail(tmp_path)
    assert [event["t"] for event in tail.read()] == [1]
    with file.open("a") as more:
        more.write('ent":"close"}\nrubbish\n{"schema":2,"began":150}\n{"t":1,"event":"close"}\n')
    assert [event["t"] for event in tail.read()] == [2, 51]
    tail.close()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunUnreadable, match="holds no run"):
        next(read_events(tmp_path))
    with pytest.raises(RunUnreadable, match="there is no run in"):
        newest_run(tmp_path)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "events.jsonl").write_text(json.dumps({"t": 0, "event": "close"}))
    assert newest_run(tmp_path) == tmp_path / "one"
