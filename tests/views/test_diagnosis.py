"""Each thing that is wrong is said in words, and nothing is said of a network that is well."""

from typing import Any

from akkordeon.views.diagnosis import Moment, Moments, state, words
from tests.views import made_up

Lines = dict[str, dict[str, Any]]


def moment(t: float, *lines: dict[str, Any], events: tuple[dict[str, Any], ...] = ()) -> Moment:
    gates = {line["name"]: line for line in lines if line["event"] == "gate"}
    sentinels = {line["name"]: line for line in lines if line["event"] == "sentinel"}
    return Moment(t, gates, sentinels, events)


def well(t: float, *others: dict[str, Any], events: tuple[dict[str, Any], ...] = ()) -> Moment:
    return moment(t, made_up.gate("a", t), made_up.gate("b", t), made_up.sentinel("s", t), *others, events=events)


def spent(t: float, computing: float, **others: float) -> dict[str, float]:
    rest = 1 - computing - sum(others.values())
    return {what: share * t for what, share in {"forward": computing, "starved": rest, **others}.items()}


def test_nothing_is_said_of_a_network_that_is_well() -> None:
    for t in (0.0, 3.0, 10.0, 100.0):
        assert words(well(t), well(t + 5.0)) == []
    assert words(well(0.0), well(0.0)) == []


def test_a_slow_gate_is_the_bottleneck() -> None:
    slow = [made_up.gate("slow", t, spent=spent(t, 0.97), waiting=12) for t in (5.0, 10.0)]
    quick = [[made_up.gate(name, t, spent=spent(t, 0.2)) for name in "ab"] for t in (5.0, 10.0)]
    (said,) = words(moment(5, slow[0], *quick[0]), moment(10, slow[1], *quick[1]))
    assert said == (
        "gate 'slow' is the bottleneck: it computes 97% of the time, all others at most 20%; 12 messages wait for it"
    )
    assert state("slow", moment(5, slow[0]), moment(10, slow[1])) == "computing"


def test_a_burst_of_staleness_is_said() -> None:
    counts = {"1": 100, "2": 100}
    past = well(5.0, made_up.gate("late", 5.0, staleness={"counts": counts}))
    now = well(10.0, made_up.gate("late", 10.0, staleness={"counts": counts | {"14": 50}}))
    assert words(past, now) == ["the gradients of gate 'late' are stale: p95 is 14 updates in the last 5 s, 2 before"]


def test_a_gate_that_died_is_said_with_or_without_the_event() -> None:
    event = {"t": 6.0, "event": "restart", "gate": "b", "text": "gate 'b' has ended: ValueError('no')"}
    assert words(well(5.0), well(10.0, events=(event,))) == [
        "gate 'b' died and was restarted 4 s ago: gate 'b' has ended: ValueError('no')"
    ]
    assert state("b", well(5.0), well(10.0, events=(event,))) == "restarted"
    past, now = well(50.0, made_up.gate("c", 50.0)), well(55.0, made_up.gate("c", 2.0))
    assert words(past, now) == ["gate 'c' died and was restarted within 5 s, at version 60"]


def test_batches_that_do_not_come_back_and_memory_that_grows_are_said() -> None:
    stuck = made_up.sentinel("leaks", 5.0, in_flight=64)
    assert words(well(5.0, stuck), well(12.0, stuck)) == [
        "none of the 64 batches of sentinel 'leaks' has come back for 7 s"
    ]
    process = {"host": "laptop", "pid": 9, "device": "cpu", "device_memory": 0}
    grows = [made_up.sentinel("fat", t, process=process | {"memory": 40e6 * t}) for t in (5.0, 10.0)]
    assert words(well(5.0, grows[0]), well(10.0, grows[1])) == [
        "the process of sentinel 'fat' (laptop, 9) leaks memory: it grows by 40 MB per second"
    ]


def test_batches_that_are_sent_again_are_said() -> None:
    lines = [made_up.sentinel("s", t, resent=resent) for t, resent in ((5.0, 1), (10.0, 4))]
    assert words(moment(5, lines[0]), moment(10, lines[1])) == ["sentinel 's' has sent 3 batches again in the last 5 s"]


def test_a_loader_that_starves_the_network_is_said() -> None:
    lines = [made_up.sentinel("hungry", t, waiting_for_data=0.85 * t) for t in (5.0, 10.0)]
    assert words(well(5.0, lines[0]), well(10.0, lines[1])) == [
        "the loader of sentinel 'hungry' starves the network: it had no batch ready 85% of the time"
    ]


def test_a_gate_that_waits_for_the_random_lock_is_said() -> None:
    lines = [made_up.gate("g", t, spent=spent(t, 0.3, lock=0.4)) for t in (5.0, 10.0)]
    (said,) = words(well(5.0, lines[0]), well(10.0, lines[1]))
    assert said.startswith("gate 'g' waits for the random lock 40% of the time")
    assert state("g", well(5.0, lines[0]), well(10.0, lines[1])) == "waiting for lock"


def test_moments_keep_the_one_that_is_long_enough_ago() -> None:
    moments = Moments()
    for t in range(20):
        moments.add(well(float(t)))
    assert moments.before(well(20.0)).t == 14.0
