"""What every engine promises (`akkordeon.actor`), held against each of them by one suite.

A process takes seconds to begin, so tests share the actors that a test does not end (`cast`).
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch

from akkordeon.actor import Ended, Engine, Inbox
from akkordeon.errors import ActorFailed, ActorNotFound, NameTaken, NoAnswer
from tests.engines.actors import (
    Alarm,
    Asker,
    Box,
    Busy,
    Cast,
    Crowd,
    Fail,
    Flood,
    Fragile,
    Lossy,
    Numbered,
    Parent,
    Pressing,
    TwoComputations,
    Unborn,
)
from tests.engines.conftest import Borrowed
from tests.waiting import limit

SOON = limit(10.0)
"""Seconds; a bound for what should take milliseconds."""


def take(inbox: Inbox, amount: int) -> list[object]:
    return [inbox.take(timeout=SOON) for _ in range(amount)]


@pytest.fixture
def inbox(cast: Cast) -> Inbox:
    return cast.inbox


def test_asserts_count() -> None:
    """Also under `python -O`, under which this suite is run once."""
    with pytest.raises(AssertionError):
        assert take is None


def test_messages_of_one_sender_arrive_in_the_order_sent(cast: Cast, inbox: Inbox) -> None:
    flooders = [cast.flooder(number) for number in (1, 2)]
    for flooder in flooders:
        flooder.tell(Flood(cast.forwarder(), 200))
    seen = take(inbox, 400)
    for flooder in flooders:
        assert [m.number for m in seen if isinstance(m, Numbered) and m.sender == flooder.name] == list(range(200))


def test_messages_from_outside_arrive_in_the_order_sent(cast: Cast, inbox: Inbox) -> None:
    for number in range(200):
        cast.forwarder().tell(number)
    assert take(inbox, 200) == list(range(200))


def test_an_inbox_hands_over_what_comes_in_the_order_sent(engine: Engine, cast: Cast, inbox: Inbox) -> None:
    seen: list[object] = []
    handing = engine.inbox("hands over", seen.append)
    for number in range(200):
        handing.ref.tell(number)
    deadline = engine.now() + SOON
    while len(seen) < 200 and engine.now() < deadline:
        with pytest.raises(NoAnswer):
            inbox.take(timeout=0.05)
    handing.close()
    assert seen == list(range(200))


def test_the_clock_advances_while_an_inbox_waits(engine: Engine, inbox: Inbox) -> None:
    before = engine.now()
    with pytest.raises(NoAnswer):
        inbox.take(timeout=0.05)
    assert engine.now() - before >= 0.05


def test_the_return_value_of_receive_answers_an_ask(cast: Cast, inbox: Inbox) -> None:
    assert cast.forwarder().ask("hello", timeout=SOON) == "passed on"
    assert take(inbox, 1) == ["hello"]


def test_an_ask_is_answered_while_computations_are_outstanding(cast: Cast, inbox: Inbox) -> None:
    computer = cast.computer()
    for number in range(50):
        computer.tell(number)
    assert computer.ask("outstanding", timeout=SOON) in (0, 1)
    take(inbox, 100)


def test_an_ask_of_an_actor_that_has_ended_says_why(engine: Engine) -> None:
    fragile = engine.spawn("fragile", Fragile)
    with pytest.raises(ActorFailed, match="fragile failed while answering Fail: ValueError") as caught:
        fragile.ask(Fail("receive"), timeout=SOON)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ActorFailed, match="fragile has ended"):
        fragile.ask("hello", timeout=SOON)


def test_an_actor_must_not_ask(engine: Engine, cast: Cast) -> None:
    asker = engine.spawn("asker", partial(Asker, cast.idle()))
    assert "asked idle" in str(asker.ask("go", timeout=SOON))


@pytest.mark.parametrize("where", ["receive", "work", "then", "in order"])
def test_an_exception_ends_the_actor_and_reaches_each_watcher_once(engine: Engine, inbox: Inbox, where: str) -> None:
    fragile = engine.spawn("fragile", Fragile)
    second = engine.inbox("second watcher")
    engine.watch(fragile, inbox.ref)
    engine.watch(fragile, second.ref)
    fragile.tell(Fail(where))
    for box in (inbox, second):
        ended = box.take(timeout=SOON)
        assert isinstance(ended, Ended)
        assert ended.actor == fragile
        assert isinstance(ended.reason, ValueError)
        with pytest.raises(NoAnswer):
            box.take(timeout=0.05)


def test_an_actor_that_cannot_be_made_has_ended(engine: Engine, inbox: Inbox) -> None:
    unborn = engine.spawn("unborn", Unborn)
    engine.watch(unborn, inbox.ref)
    (ended,) = take(inbox, 1)
    assert isinstance(ended, Ended)
    assert str(ended.reason) == "in make"


def test_an_exit_in_an_actor_ends_only_the_actor(engine: Engine, inbox: Inbox) -> None:
    fragile = engine.spawn("fragile", Fragile)
    engine.watch(fragile, inbox.ref)
    fragile.tell(Fail("exit"))
    (ended,) = take(inbox, 1)
    assert isinstance(ended, Ended)
    assert isinstance(ended.reason, SystemExit)


def test_a_name_belongs_to_one_living_actor_at_a_time(engine: Engine, inbox: Inbox) -> None:
    first = engine.spawn("name", Fragile)
    with pytest.raises(NameTaken, match="'name' is alive"):
        engine.spawn("name", Fragile)
    engine.watch(first, inbox.ref)
    engine.stop(first)
    second = engine.spawn("name", Fragile)
    assert take(inbox, 1) == [Ended(first, None)]
    assert first != second
    assert len({first, second, engine.find("name")}) == 2
    assert second.ask("hello", timeout=SOON) == "fine"


def test_watchers_learn_of_a_stop_even_if_they_come_later(engine: Engine, inbox: Inbox) -> None:
    fragile = engine.spawn("fragile", Fragile)
    engine.watch(fragile, inbox.ref)
    engine.stop(fragile)
    assert take(inbox, 1) == [Ended(fragile, None)]
    engine.watch(fragile, inbox.ref)
    assert take(inbox, 1) == [Ended(fragile, None)]


def test_an_ended_actor_is_not_found_and_ignores_messages(engine: Engine, cast: Cast) -> None:
    fragile, idle = engine.spawn("fragile", Fragile), cast.idle()
    assert engine.find("fragile") == fragile
    engine.stop(fragile)
    fragile.tell("anyone there?")
    with pytest.raises(ActorFailed):
        fragile.ask("anyone?", timeout=SOON)
    with pytest.raises(ActorNotFound, match=r"no actor named 'fragile'; there are: .*idle"):
        engine.find("fragile")
    assert engine.find("idle") == idle != fragile


@pytest.mark.parametrize("computations", [1, 2, 3])
def test_results_come_in_the_order_asked_for(cast: Cast, inbox: Inbox, computations: int) -> None:
    computer = cast.computer(computations)
    for number in range(100):
        computer.tell(number)
    seen = take(inbox, 200)
    assert [value for value in seen if isinstance(value, int)] == [number**2 for number in range(100)]
    outstanding = [value[1] for value in seen if isinstance(value, tuple)]
    assert max(outstanding) <= computations


def test_a_mark_does_not_overtake_computations(cast: Cast, inbox: Inbox) -> None:
    computer = cast.computer(3)
    for number in (1, 2, "mark", 3):
        computer.tell(number)
    seen = [value for value in take(inbox, 7) if not isinstance(value, tuple)]
    assert seen == [1, 4, "mark", 9]


def test_a_mark_with_nothing_outstanding_comes_at_once(cast: Cast, inbox: Inbox) -> None:
    cast.computer().tell("mark")
    assert take(inbox, 1) == ["mark"]


def test_an_engine_says_whether_it_loses_messages(engine: Engine) -> None:
    """Only one of several processes does."""
    assert engine.loses_messages is isinstance(engine, Borrowed)
    assert engine.spawn("lossy", Lossy).ask("?", timeout=SOON) is engine.loses_messages


def test_a_message_may_ask_for_one_computation_only(engine: Engine, inbox: Inbox) -> None:
    greedy = engine.spawn("greedy", TwoComputations)
    engine.watch(greedy, inbox.ref)
    greedy.tell("go")
    (ended,) = take(inbox, 1)
    assert isinstance(ended, Ended)
    assert "asked for two computations" in str(ended.reason)


def test_delayed_messages_come_when_due_and_in_that_order(engine: Engine, inbox: Inbox) -> None:
    engine.spawn("alarm", partial(Alarm, inbox.ref)).tell("set")
    seen = take(inbox, 3)
    for due, came in seen:  # type: ignore[misc]
        assert came >= due  # type: ignore[has-type]
    assert seen == sorted(seen)  # type: ignore[type-var]


def test_actors_spawn_find_watch_and_stop(engine: Engine, inbox: Inbox) -> None:
    parent = engine.spawn("parent", partial(Parent, inbox.ref))
    parent.tell("spawn")
    assert take(inbox, 1) == [True]
    parent.tell("stop")
    (ended,) = take(inbox, 1)
    assert isinstance(ended, Ended)
    assert (ended.actor.name, ended.reason) == ("child", None)


def test_a_ref_can_be_sent_and_used(cast: Cast, inbox: Inbox) -> None:
    cast.flooder().tell(Flood(inbox.ref, 1))
    assert take(inbox, 1) == [Numbered("flooder 1", 0)]


def test_tensors_arrive_as_they_were_sent(cast: Cast, inbox: Inbox) -> None:
    for tensor in (
        torch.randn(3, 4),
        torch.randn(300, 300),  # large ones may travel otherwise
        torch.tensor(7),
        torch.tensor(7, dtype=torch.uint8),
        torch.zeros(0, 2),
        torch.ones(2, dtype=torch.bool),
        torch.ones(3, dtype=torch.bfloat16),
    ):
        cast.forwarder().tell(Box("some", tensor))
        (box,) = take(inbox, 1)
        assert isinstance(box, Box)
        assert box.label == "some"
        assert box.tensor.dtype == tensor.dtype
        assert torch.equal(box.tensor, tensor)


def test_an_inbox_says_when_nothing_came(inbox: Inbox) -> None:
    with pytest.raises(NoAnswer, match=r"nothing came to the test within 0\.02 s"):
        inbox.take(timeout=0.02)


def test_a_closed_engine_spawns_nothing_and_may_be_closed_again(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    fragile = engine.spawn("fragile", Fragile)
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="the engine is closed"):
        engine.spawn("late", Fragile)
    with pytest.raises(ActorFailed):
        fragile.ask("hello", timeout=SOON)


def test_urgent_messages_overtake_others_and_not_each_other(engine: Engine, inbox: Inbox) -> None:
    busy = engine.spawn("busy", partial(Busy, inbox.ref))
    engine.spawn("crowd", partial(Crowd, busy)).tell("go")
    seen = take(inbox, 13)
    assert [each for each in seen if isinstance(each, Pressing)] == [Pressing(0), Pressing(1), Pressing(2)]
    assert [each for each in seen if isinstance(each, int)] == [0, 1, 2, 3, 4]


def test_a_look_names_actors_and_what_waits_for_them(engine: Engine, cast: Cast) -> None:
    cast.idle()
    assert "idle: " in engine.look()
    assert "messages waiting" in engine.look()
