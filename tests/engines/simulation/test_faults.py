"""Faults of the simulation: each kind happens when it is asked for, only then, is counted, and does what it says."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

from akkordeon.actor import Ended
from akkordeon.engines import Crashed, Delays, Faults, Stepped, exponential
from akkordeon.errors import ActorFailed, NoAnswer
from tests.engines.acting import Compute, Later, Stage, Stop, Tell, Watch, chatter, fifo

FIXED = Delays(link=1.0, turn=10.0, work=100.0)
SOON = 1e4

RARE: dict[str, dict[str, Any]] = {
    "loss": {"loss": 0.1},
    "duplicate": {"duplicates": 0.1},
    "reordering": {"reordering": 0.1},
    "crash": {"crashes": 10.0},
    "silent crash": {"crashes": 10.0, "silent": 1.0},
    "pause": {"pauses": 10.0},
    "partition": {"partitions": 10.0},
    "jump": {"jumps": 10.0},
    "slow": {"slow": 0.5},
}


def fixed(seed: int = 0, **faults: Any) -> Stage:
    return Stage(Stepped(seed, delays=FIXED, faults=Faults(**faults), debug=True))


def pair(stage: Stage) -> tuple[Any, Any, float]:
    a, b = stage.puppet("a"), stage.puppet("b")
    stage.engine.run(seconds=100.0)
    return a, b, stage.engine.time


@pytest.mark.parametrize("kind", RARE)
def test_each_kind_happens_when_asked_for_and_no_other(kind: str) -> None:
    engine = Stepped(1, faults=Faults(**RARE[kind], seconds=(0.001, 0.01)))
    chatter(engine)
    assert engine.injected[kind] > 0
    assert set(engine.injected) <= {kind, "cut off" if kind == "partition" else kind}


@pytest.mark.parametrize("kind", RARE)
def test_an_engine_says_that_it_loses_messages_where_it_may(kind: str) -> None:
    engine = Stepped(1, faults=Faults(**RARE[kind]))
    assert engine.loses_messages is (kind in ("loss", "partition"))
    stage = Stage(engine)
    stage.puppet("a")
    engine.cut_off(["a"], 1.0)
    assert engine.loses_messages


def test_without_faults_nothing_goes_wrong() -> None:
    engine = Stepped(1, faults=Faults())
    told = chatter(engine)
    assert not engine.injected
    assert all(fifo(each) for each in told)
    assert sum(len([each for each in one if isinstance(each, tuple)]) for one in told) == 300


def test_only_reordering_brings_messages_of_one_sender_out_of_order() -> None:
    def in_order(**faults: Any) -> bool:
        delays = Delays(link=exponential(0.001), turn=0.0001)
        return all(fifo(each) for each in chatter(Stepped(1, delays=delays, faults=Faults(**faults))))

    assert in_order()
    assert in_order(pauses=10.0, jumps=10.0, slow=0.5, seconds=(0.001, 0.01))
    assert not in_order(reordering=0.3)


def test_as_many_messages_are_missing_as_were_lost() -> None:
    engine = Stepped(1, faults=Faults(loss=0.2))
    told = [each for one in chatter(engine) for each in one if isinstance(each, tuple)]
    assert len(told) == len(set(told)) == 300 - engine.injected["loss"]
    assert 30 < engine.injected["loss"] < 90


def test_as_many_messages_come_twice_as_were_doubled() -> None:
    engine = Stepped(1, faults=Faults(duplicates=0.2))
    told = [each for one in chatter(engine) for each in one if isinstance(each, tuple)]
    assert len(set(told)) == 300
    assert len(told) == 300 + engine.injected["duplicate"]


def test_a_held_back_message_is_overtaken_even_without_delays() -> None:
    stage = Stage(Stepped(2, delays=Delays(link=0.0), faults=Faults(reordering=0.2)))
    a, b = stage.puppet("a"), stage.puppet("b")
    a.tell(Tell(b, tuple(range(100))))
    stage.engine.run()
    assert sorted(stage.told("b"), key=str) == sorted(range(100), key=str)
    assert stage.told("b") != list(range(100))
    late = sum(
        1 for place, each in enumerate(stage.told("b")) if each != sorted([*stage.told("b")[place:]], key=_int)[0]
    )
    assert late > 0
    assert stage.engine.injected["reordering"] > 0


def _int(each: object) -> int:
    assert isinstance(each, int)
    return each


def test_only_links_that_are_lossy_lose_anything() -> None:
    stage = fixed(loss=1.0, lossy=lambda sender, receiver: (sender, receiver) == ("a", "b"))
    a, b, _ = pair(stage)
    a.tell(Tell(b, ("lost",)))
    b.tell(Tell(a, ("arrives",)))
    stage.engine.run()
    assert "lost" not in stage.told("b")
    assert "arrives" in stage.told("a")
    assert stage.engine.injected == {"loss": 1}


# Crashes


def test_a_crash_reaches_watchers_with_its_reason() -> None:
    stage = fixed()
    a, b, _ = pair(stage)
    a.tell(Watch(b))
    stage.engine.run()
    stage.engine.crash(b)
    stage.engine.run()
    assert [str(each) for each in stage.ends("a")] == [f"b crashed at {stage.engine.time - 11:.6f} s"]
    assert isinstance(stage.ends("a")[0], Crashed)
    with pytest.raises(ActorFailed, match="b has ended"):
        b.ask("?", timeout=1.0)
    stage.engine.crash(b)
    assert stage.engine.injected == {"crash": 1}


def test_a_crash_may_have_a_reason_of_its_own() -> None:
    stage = fixed()
    a, b, _ = pair(stage)
    a.tell(Watch(b))
    stage.engine.run()
    reason = MemoryError()
    stage.engine.crash(b, reason=reason)
    stage.engine.run()
    assert stage.ends("a") == [reason]


def test_a_silent_crash_is_known_only_on_its_own_machine() -> None:
    stage = fixed()
    sentinel, watcher, _ = pair(stage)
    provider = stage.puppet("provider", blocking=True, by="a")
    for each in (watcher, provider):
        each.tell(Watch(sentinel))
    stage.engine.run()
    stage.engine.crash(sentinel, silent=True)
    watcher.tell(Watch(sentinel))
    stage.engine.run()
    assert stage.ends("b") == []
    assert len(stage.ends("provider")) == 1
    assert stage.engine.injected == {"silent crash": 1}


def test_a_crash_lets_out_a_first_part_of_a_turns_messages() -> None:
    parts = set()
    for seed in range(30):
        stage = fixed(seed)
        a, b, began = pair(stage)
        a.tell(Tell(b, (0, 1, 2)))
        stage.engine.run(until=lambda: len(stage.of("a").seen) == 1)  # noqa: B023
        stage.engine.crash(a)
        stage.engine.run()
        assert all(when >= began + 1 for when, _ in stage.of("b").seen)
        parts.add(tuple(stage.told("b")))
    assert parts == {(), (0,), (0, 1), (0, 1, 2)}


def test_a_computation_that_a_crash_ends_has_no_result() -> None:
    stage = fixed()
    a, b, _ = pair(stage)
    a.tell(Compute(b, "done"))
    stage.engine.run(seconds=50.0)
    stage.engine.crash(a)
    stage.engine.run()
    assert stage.told("b") == []


def test_an_asker_learns_of_a_crash_in_the_turn_of_the_answer() -> None:
    stage = fixed()
    a, _, _ = pair(stage)

    def crash(event: str, name: str, message: object) -> None:
        if (event, name, message) == ("turn", "a", "?"):
            stage.engine.crash(a)

    stage.engine.observers.append(crash)
    with pytest.raises(ActorFailed, match="a has ended: Crashed"):
        a.ask("?", timeout=SOON)


def test_the_exploring_mode_has_crashes_and_jumps_too() -> None:
    stage = Stage(Stepped(debug=True))
    a, b = stage.puppet("a"), stage.puppet("b")
    a.tell(Watch(b))
    stage.engine.run()
    before = stage.engine.digest
    stage.engine.crash(b)
    stage.engine.jump(a, 1000.0)
    a.tell("what time is it?")
    stage.engine.run()
    assert isinstance(stage.ends("a")[0], Crashed)
    assert stage.of("a").seen[-1][0] > 1000
    assert stage.engine.injected == {"crash": 1, "jump": 1}
    assert stage.engine.digest != before
    with pytest.raises(RuntimeError, match="give the engine `delays`"):
        stage.engine.pause(a, 1.0)
    with pytest.raises(RuntimeError, match="give the engine `delays`"):
        stage.engine.cut_off(["a"], 1.0)


# Pauses and clocks


def test_a_paused_actor_does_nothing_and_its_messages_wait() -> None:
    stage = fixed()
    a, _, began = pair(stage)
    stage.engine.pause(a, 50.0)
    a.tell("first")
    a.tell("second")
    with pytest.raises(NoAnswer):
        a.ask("anyone there?", timeout=20.0)
    stage.engine.run()
    assert [when - began for when, _ in stage.of("a").seen] == [50.0, 60.0, 70.0]


def test_a_pause_lengthens_the_turn_or_computation_it_interrupts() -> None:
    stage = fixed()
    a, b, began = pair(stage)
    a.tell(Compute(b, "done"))
    stage.engine.run(seconds=5.0)
    stage.engine.pause(a, 50.0)
    stage.engine.run(seconds=100.0)
    stage.engine.pause(a, 7.0)
    stage.engine.run()
    assert [when - began for when, _ in stage.of("b").seen] == [10 + 50 + 100 + 7 + 10 + 1]


def test_of_two_pauses_at_once_the_longer_one_counts() -> None:
    stage = fixed()
    a, _, began = pair(stage)
    stage.engine.pause(a, 50.0)
    stage.engine.pause(a, 20.0)
    a.tell("hello")
    stage.engine.run()
    assert stage.of("a").seen[-1][0] == began + 50


def test_a_pause_is_one_of_all_that_live_there() -> None:
    stage = fixed()
    a, _, _ = pair(stage)
    provider = stage.puppet("provider", blocking=True, by="a")
    stage.engine.run()
    began = stage.engine.time
    stage.engine.pause(a, 50.0)
    stage.engine.jump(a, 1000.0)
    provider.tell("draw")
    stage.engine.run()
    assert stage.of("provider").seen[-1][0] == began + 1050


def test_a_clock_jumps_and_its_timers_stay_true() -> None:
    stage = fixed()
    a, _, began = pair(stage)
    a.tell(Later(100.0, "rings"))
    stage.engine.run(seconds=20.0)
    stage.engine.jump(a, -70.0)
    stage.engine.run()
    assert stage.of("a").seen[-1] == (began + 100.0 - 70.0, "rings")
    assert stage.engine.time == began + 110


def test_a_slow_actor_takes_ten_times_as_long() -> None:
    stage = fixed(slow=1.0, victims=lambda name: name == "a")
    a, b = stage.puppet("a"), stage.puppet("b")
    stage.engine.run()
    began = stage.engine.time
    a.tell(Compute(b, "done"))
    stage.engine.run()
    assert stage.of("b").seen == [(began + 100 + 1000 + 100 + 1, "done")]
    assert stage.engine.injected == {"slow": 1}


# Partitions


def test_a_partitioned_actor_lives_on_and_cannot_be_stopped() -> None:
    stage = fixed()
    a, b, _ = pair(stage)
    a.tell(Watch(b))
    stage.engine.run()
    stage.engine.cut_off(["b"], 1000.0)
    a.tell(Tell(b, ("lost",)))
    b.tell(Tell(a, ("lost too",)))
    a.tell(Stop(b))
    stage.engine.run(seconds=500.0)
    assert stage.engine.find("b") == b
    assert "b" in dict(stage.engine.actors())
    assert "lost" not in stage.told("b")
    assert "lost too" not in stage.told("a")
    assert stage.engine.injected == {"partition": 1, "cut off": 3}
    stage.engine.run(seconds=600.0)
    a.tell(Tell(b, ("arrives",)))
    a.tell(Stop(b))
    stage.engine.run()
    assert stage.ends("a") == [None]


def test_news_of_an_end_gets_across_once_a_partition_has_healed() -> None:
    stage = fixed()
    a, b, _ = pair(stage)
    a.tell(Watch(b))
    stage.engine.run()
    began = stage.engine.time
    stage.engine.cut_off(["a"], 1000.0)
    stage.engine.cut_off(["a"], 3000.0)
    stage.engine.crash(b)
    stage.engine.run()
    ((when, ended),) = [(when, each) for when, each in stage.of("a").seen if isinstance(each, Ended)]
    assert ended.actor == b
    assert when == began + 3001


def test_a_message_on_its_way_does_not_get_across_either() -> None:
    stage = fixed()
    a, b, _ = pair(stage)
    a.tell(Tell(b, ("lost",)))
    stage.engine.run(seconds=10.5)
    stage.engine.cut_off(["b"], 5.0)
    stage.engine.run()
    assert stage.told("b") == []


def test_actors_cut_off_together_hear_each_other() -> None:
    stage = fixed()
    a, b, _ = pair(stage)
    provider = stage.puppet("provider", blocking=True, by="a")
    inbox = stage.engine.inbox("inbox")
    stage.engine.run()
    stage.engine.cut_off(["a", "b"], 1000.0)
    a.tell(Tell(b, ("hello",)))
    a.tell(Tell(provider, ("draw",)))
    a.tell(Tell(inbox.ref, ("to the outside",)))
    stage.engine.run()
    assert stage.told("b") == ["hello"]
    assert stage.told("provider") == ["draw"]
    assert inbox.take(timeout=1.0) == "to the outside"


# Who, how often, how long


def test_faults_strike_at_their_rates_and_last_as_long_as_they_should() -> None:
    engine = Stepped(4, faults=Faults(pauses=2.0, jumps=1.0, partitions=0.5, seconds=(0.5, 2.0)))
    stage = Stage(engine)
    for name in "abcdef":
        stage.puppet(name).tell(Later(1e4, "the end"))
    engine.run(seconds=1000.0)
    for kind, expected in {"pause": 2000, "jump": 1000, "partition": 500}.items():
        assert engine.injected[kind] == pytest.approx(expected, rel=0.1)
    cuts = [when for when, event, _, _ in stage.seen if event == "partition"]
    heals = [when for when, event, _, _ in stage.seen if event == "heals"]
    assert sum(heals) / len(heals) - sum(cuts[: len(heals)]) / len(heals) == pytest.approx(1.5 / math.log(4), rel=0.1)


def test_only_victims_are_struck() -> None:
    engine = Stepped(4, faults=Faults(crashes=10.0, pauses=10.0, victims=lambda name: name in {"a", "b"}))
    stage = Stage(engine)
    for name in "abcdef":
        stage.puppet(name).tell(Later(1e3, "the end"))
    engine.run(seconds=100.0)
    assert [name for name, _ in engine.actors()] == ["root", "c", "d", "e", "f"]
    assert {name for _, event, name, _ in stage.seen if event in {"crash", "pause"}} == {"a", "b"}


def test_by_default_faults_strike_spawned_actors() -> None:
    engine = Stepped(4, faults=Faults(crashes=10.0))
    stage = Stage(engine)
    inbox = engine.inbox("inbox")
    for name in "abc":
        stage.puppet(name)
    stage.root.tell(Later(1e3, "the end"))
    engine.run(seconds=100.0)
    assert [name for name, _ in engine.actors()] == ["root"]
    inbox.ref.tell("still here")
    assert inbox.take(timeout=1.0) == "still here"


def test_faults_end_when_they_should() -> None:
    faults = Faults(loss=0.5, pauses=5.0, partitions=5.0, jumps=5.0, seconds=(100.0, 100.0), until=50.0)
    engine = Stepped(4, faults=faults)
    stage = Stage(engine)
    a, b = stage.puppet("a"), stage.puppet("b")
    engine.run(seconds=50.0)
    stage.root.tell(Later(1e3, "the end"))
    engine.run(seconds=0.1)
    before = engine.injected.copy()
    assert set(before) >= {"pause", "partition", "jump"}
    for number in range(100):
        a.tell(Tell(b, (number,)))
    engine.run(seconds=100.0)
    assert stage.told("b") == list(range(100))
    assert engine.injected == before


def test_faults_and_delays_have_generators_of_their_own() -> None:
    """More of one kind of fault leaves everything as it was that it does not touch."""

    def arrivals(**faults: Any) -> list[tuple[float, str]]:
        stage = Stage(Stepped(4, faults=Faults(**faults)))
        a, b = stage.puppet("a"), stage.puppet("b")
        a.tell(Tell(b, tuple(range(20))))
        stage.engine.run()
        return [(when, name) for when, event, name, _ in stage.seen if event == "arrives"]

    assert arrivals() == arrivals(jumps=100.0, until=0.5) == arrivals(slow=0.0, duplicates=1e-12)


def test_a_wait_without_end_ends_though_faults_never_do() -> None:
    engine = Stepped(4, faults=Faults(pauses=1.0, crashes=0.001))
    Stage(engine).puppet("a")
    assert engine.run() is False


@pytest.mark.parametrize("share", ["loss", "duplicates", "reordering", "silent", "slow"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_share_is_between_nothing_and_all(share: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{share} is a share and must be between 0 and 1, not {value}"):
        Faults(**{share: value})


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        *itertools.product(["crashes", "pauses", "partitions", "jumps", "jump"], [-1.0, math.inf], ["not negative"]),
        ("seconds", (0.0, 1.0), "two positive numbers"),
        ("seconds", (2.0, 1.0), "the smaller one first"),
        ("seconds", (1.0, math.inf), "two positive numbers"),
        ("until", -1.0, "until must be"),
        ("until", math.nan, "until must be"),
    ],
)
def test_faults_that_make_no_sense_are_refused(field: str, value: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Faults(**{field: value})


@pytest.mark.parametrize("make", [Stepped, lambda: Stepped(delays=Delays())])
def test_observers_see_the_state_that_an_event_leaves(make: Callable[[], Stepped]) -> None:
    stage = Stage(make())
    a, b = stage.puppet("a"), stage.puppet("b")
    counts: list[int] = []

    def count(event: str, name: str, message: object) -> None:
        if (event, name) == ("turn", "b") and isinstance(message, int):
            counts.append(len(stage.of("b").seen))

    stage.engine.observers.append(count)
    a.tell(Tell(b, (1, 2, 3)))
    stage.engine.run()
    assert counts == [1, 2, 3]
