"""What every engine promises (`akkordeon.actor`), held against each of them by one suite.

Actors report to an inbox and hold nothing that could not live in another process.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor

from akkordeon.actor import Actor, Context, Ended, Engine, Inbox, Ref, Urgent
from akkordeon.errors import ActorFailed, ActorNotFound, NameTaken, NoAnswer

SOON = 10.0
"""Seconds; a bound for what should take milliseconds."""


@dataclass(frozen=True)
class Numbered:
    sender: str
    number: int


@dataclass(frozen=True)
class Pressing(Urgent):
    number: int


@dataclass(frozen=True)
class Fail:
    where: str


@dataclass(frozen=True)
class Flood:
    to: Ref
    amount: int


@dataclass(frozen=True)
class Box:
    label: str
    tensor: Tensor


class Forwarder(Actor):
    """Passes what it is told to somebody."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        self.to.tell(message)
        return "passed on"


class Flooder(Actor):
    """Sends many numbered messages in one turn."""

    def receive(self, message: object, context: Context) -> object:
        assert isinstance(message, Flood)
        for number in range(message.amount):
            message.to.tell(Numbered(context.me.name, number))
        return None


class Fragile(Actor):
    """Raises where it is told to."""

    def receive(self, message: object, context: Context) -> object:
        if message == Fail("receive"):
            raise ValueError("in receive")
        if message == Fail("exit"):
            raise SystemExit(3)
        if message == Fail("work"):
            context.compute(partial(_raise, "in work"), _ignore)
        if message == Fail("then"):
            context.compute(_nothing, partial(_raise_on, "in then"))
        if message == Fail("in order"):
            context.in_order(partial(_raise, "in order"))
        return "fine"


class Unborn(Actor):
    def __init__(self) -> None:
        raise ValueError("in make")

    def receive(self, message: object, context: Context) -> object:
        return None


class Computer(Actor):
    """Asks for a computation per message; reports what it sees of itself in every turn."""

    def __init__(self, to: Ref) -> None:
        self.to = to
        self.outstanding = 0
        self.in_turn = False

    def receive(self, message: object, context: Context) -> object:
        assert not self.in_turn
        self.in_turn = True
        if message == "mark":
            context.in_order(partial(self.to.tell, "mark"))
        elif message == "outstanding":
            self.in_turn = False
            return self.outstanding
        else:
            self.outstanding += 1
            self.to.tell(("outstanding", self.outstanding))
            assert isinstance(message, int)
            context.compute(partial(_square, message), self._done)
        self.in_turn = False
        return None

    def _done(self, value: int) -> None:
        assert not self.in_turn
        self.in_turn = True
        self.outstanding -= 1
        self.to.tell(value)
        self.in_turn = False


class TwoComputations(Actor):
    def receive(self, message: object, context: Context) -> object:
        context.compute(_nothing, _ignore)
        context.compute(_nothing, _ignore)
        return None


class Alarm(Actor):
    """Tells itself things later, and passes on when they came."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        if message == "set":
            now = context.now()
            for seconds in (0.3, 0.1, 0.2):
                context.tell_later(seconds, ("due", now + seconds))
        elif isinstance(message, tuple):
            self.to.tell((message[1], context.now()))
        return None


class Parent(Actor):
    """Spawns, watches and stops, as engines let outside code do."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        match message:
            case "spawn":
                child = context.spawn("child", Fragile)
                context.watch(child, context.me)
                self.to.tell(context.find("child") == child)
            case "stop":
                context.stop(context.find("child"))
            case Ended():
                self.to.tell(message)
        return None


class Asker(Actor):
    """Does what an actor must not."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        try:
            self.to.ask("?", timeout=SOON)
        except RuntimeError as error:
            return str(error)
        return "answered"


def _nothing() -> None:
    return None


def _ignore(value: object) -> None:
    return None


def _raise(text: str) -> None:
    raise ValueError(text)


def _raise_on(text: str, value: object) -> None:
    raise ValueError(text)


def _square(number: int) -> int:
    torch.randn(8, 8) @ torch.randn(8, 8)
    return number**2


def take(inbox: Inbox, amount: int) -> list[object]:
    return [inbox.take(timeout=SOON) for _ in range(amount)]


@pytest.fixture
def inbox(engine: Engine) -> Inbox:
    return engine.inbox("the test")


def test_messages_of_one_sender_arrive_in_the_order_sent(engine: Engine, inbox: Inbox) -> None:
    middle = engine.spawn("middle", partial(Forwarder, inbox.ref))
    flooders = [engine.spawn(f"flooder {number}", Flooder) for number in range(4)]
    for flooder in flooders:
        flooder.tell(Flood(middle, 100))
    seen = take(inbox, 400)
    for flooder in flooders:
        assert [m.number for m in seen if isinstance(m, Numbered) and m.sender == flooder.name] == list(range(100))


def test_messages_from_outside_arrive_in_the_order_sent(engine: Engine, inbox: Inbox) -> None:
    middle = engine.spawn("middle", partial(Forwarder, inbox.ref))
    for number in range(200):
        middle.tell(number)
    assert take(inbox, 200) == list(range(200))


def test_what_receive_returns_answers_an_ask(engine: Engine, inbox: Inbox) -> None:
    assert engine.spawn("a", partial(Forwarder, inbox.ref)).ask("hello", timeout=SOON) == "passed on"
    assert take(inbox, 1) == ["hello"]


def test_an_ask_is_answered_while_computations_are_outstanding(engine: Engine, inbox: Inbox) -> None:
    computer = engine.spawn("computer", partial(Computer, inbox.ref))
    for number in range(50):
        computer.tell(number)
    assert computer.ask("outstanding", timeout=SOON) in (0, 1)


def test_an_ask_of_an_actor_that_has_ended_says_why(engine: Engine) -> None:
    fragile = engine.spawn("fragile", Fragile)
    with pytest.raises(ActorFailed, match="fragile failed while answering Fail: ValueError") as caught:
        fragile.ask(Fail("receive"), timeout=SOON)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ActorFailed, match="fragile has ended"):
        fragile.ask("hello", timeout=SOON)


def test_an_actor_must_not_ask(engine: Engine, inbox: Inbox) -> None:
    other = engine.spawn("other", Fragile)
    asker = engine.spawn("asker", partial(Asker, other))
    assert "asked other" in str(asker.ask("go", timeout=SOON))


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


def test_even_an_exit_in_an_actor_only_ends_the_actor(engine: Engine, inbox: Inbox) -> None:
    fragile = engine.spawn("fragile", Fragile)
    engine.watch(fragile, inbox.ref)
    fragile.tell(Fail("exit"))
    (ended,) = take(inbox, 1)
    assert isinstance(ended, Ended)
    assert isinstance(ended.reason, SystemExit)


def test_news_of_an_end_tell_actors_of_one_name_apart(engine: Engine, inbox: Inbox) -> None:
    first = engine.spawn("fragile", Fragile)
    engine.watch(first, inbox.ref)
    engine.stop(first)
    second = engine.spawn("fragile", Fragile)
    assert take(inbox, 1) == [Ended(first, None)]
    assert first != second
    assert len({first, second, engine.find("fragile")}) == 2


def test_watching_an_actor_that_has_ended_tells_at_once(engine: Engine, inbox: Inbox) -> None:
    fragile = engine.spawn("fragile", Fragile)
    engine.stop(fragile)
    engine.watch(fragile, inbox.ref)
    assert take(inbox, 1) == [Ended(fragile, None)]


def test_stopping_tells_the_watchers_no_reason(engine: Engine, inbox: Inbox) -> None:
    fragile = engine.spawn("fragile", Fragile)
    engine.watch(fragile, inbox.ref)
    engine.stop(fragile)
    assert take(inbox, 1) == [Ended(fragile, None)]


def test_telling_an_actor_that_has_ended_does_not_raise(engine: Engine) -> None:
    fragile = engine.spawn("fragile", Fragile)
    engine.stop(fragile)
    fragile.tell("anyone there?")
    with pytest.raises(ActorFailed):
        fragile.ask("anyone?", timeout=SOON)


@pytest.mark.parametrize("computations", [1, 2, 3])
def test_results_come_in_the_order_asked_for(engine: Engine, inbox: Inbox, computations: int) -> None:
    computer = engine.spawn("computer", partial(Computer, inbox.ref), computations=computations)
    for number in range(100):
        computer.tell(number)
    seen = take(inbox, 200)
    assert [value for value in seen if isinstance(value, int)] == [number**2 for number in range(100)]
    outstanding = [value[1] for value in seen if isinstance(value, tuple)]
    assert max(outstanding) <= computations


def test_a_mark_does_not_overtake_computations(engine: Engine, inbox: Inbox) -> None:
    computer = engine.spawn("computer", partial(Computer, inbox.ref), computations=3)
    for number in (1, 2, "mark", 3):
        computer.tell(number)
    seen = [value for value in take(inbox, 7) if not isinstance(value, tuple)]
    assert seen == [1, 4, "mark", 9]


def test_a_mark_with_nothing_outstanding_comes_at_once(engine: Engine, inbox: Inbox) -> None:
    engine.spawn("computer", partial(Computer, inbox.ref)).tell("mark")
    assert take(inbox, 1) == ["mark"]


def test_a_message_may_ask_for_one_computation_only(engine: Engine, inbox: Inbox) -> None:
    greedy = engine.spawn("greedy", TwoComputations)
    engine.watch(greedy, inbox.ref)
    greedy.tell("go")
    (ended,) = take(inbox, 1)
    assert isinstance(ended, Ended)
    assert "asked for two computations" in str(ended.reason)


def test_what_is_told_later_comes_when_due_and_in_the_order_due(engine: Engine, inbox: Inbox) -> None:
    engine.spawn("alarm", partial(Alarm, inbox.ref)).tell("set")
    seen = take(inbox, 3)
    for due, came in seen:  # type: ignore[misc]
        assert came >= due  # type: ignore[has-type]
    assert seen == sorted(seen)  # type: ignore[type-var]


def test_an_actor_is_found_by_name_until_it_ends(engine: Engine) -> None:
    fragile = engine.spawn("fragile", Fragile)
    assert engine.find("fragile") == fragile
    engine.stop(fragile)
    other = engine.spawn("other", Fragile)
    with pytest.raises(ActorNotFound, match=r"no actor named 'fragile'; there are: .*other"):
        engine.find("fragile")
    assert engine.find("other") == other != fragile


def test_a_name_can_be_used_by_one_living_actor_only(engine: Engine) -> None:
    first = engine.spawn("name", Fragile)
    with pytest.raises(NameTaken, match="'name' is alive"):
        engine.spawn("name", Fragile)
    engine.stop(first)
    assert engine.spawn("name", Fragile).ask("hello", timeout=SOON) == "fine"


def test_actors_spawn_find_watch_and_stop(engine: Engine, inbox: Inbox) -> None:
    parent = engine.spawn("parent", partial(Parent, inbox.ref))
    parent.tell("spawn")
    assert take(inbox, 1) == [True]
    parent.tell("stop")
    (ended,) = take(inbox, 1)
    assert isinstance(ended, Ended)
    assert (ended.actor.name, ended.reason) == ("child", None)


def test_a_ref_can_be_sent_and_used(engine: Engine, inbox: Inbox) -> None:
    flooder = engine.spawn("flooder", Flooder)
    flooder.tell(Flood(inbox.ref, 1))
    assert take(inbox, 1) == [Numbered("flooder", 0)]


def test_tensors_arrive_as_they_were_sent(engine: Engine, inbox: Inbox) -> None:
    middle = engine.spawn("middle", partial(Forwarder, inbox.ref))
    for tensor in (
        torch.randn(3, 4),
        torch.randn(300, 300),  # large ones may travel otherwise
        torch.tensor(7),
        torch.tensor(7, dtype=torch.uint8),
        torch.zeros(0, 2),
        torch.ones(2, dtype=torch.bool),
        torch.ones(3, dtype=torch.bfloat16),
    ):
        middle.tell(Box("some", tensor))
        (box,) = take(inbox, 1)
        assert isinstance(box, Box)
        assert box.label == "some"
        assert box.tensor.dtype == tensor.dtype
        assert torch.equal(box.tensor, tensor)


def test_an_inbox_says_when_nothing_came(engine: Engine, inbox: Inbox) -> None:
    with pytest.raises(NoAnswer, match=r"nothing came to the test within 0\.02 s"):
        inbox.take(timeout=0.02)


def test_a_closed_engine_spawns_nothing_and_closes_again_in_peace(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    fragile = engine.spawn("fragile", Fragile)
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="the engine is closed"):
        engine.spawn("late", Fragile)
    with pytest.raises(ActorFailed):
        fragile.ask("hello", timeout=SOON)


class Busy(Actor):
    """Computes whatever it is told, and computes until an urgent message has come; tells in which order it saw them."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        self.to.tell(message)
        if isinstance(message, Pressing):
            return None
        context.compute(_nothing, lambda _: self.to.tell(("computed", message)))
        return None


class Crowd(Actor):
    """Tells somebody many things in one turn, urgent ones last."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        for number in range(5):
            self.to.tell(number)
        for number in range(3):
            self.to.tell(Pressing(number))
        return None


def test_urgent_messages_overtake_others_and_not_each_other(engine: Engine) -> None:
    inbox = engine.inbox("inbox")
    busy = engine.spawn("busy", partial(Busy, inbox.ref))
    engine.spawn("crowd", partial(Crowd, busy)).tell("go")
    seen = [inbox.take(timeout=SOON) for _ in range(13)]
    assert [each for each in seen if isinstance(each, Pressing)] == [Pressing(0), Pressing(1), Pressing(2)]
    assert [each for each in seen if isinstance(each, int)] == [0, 1, 2, 3, 4]


def test_a_look_names_actors_and_what_waits_for_them(engine: Engine) -> None:
    engine.spawn("busy", partial(Busy, engine.inbox("inbox").ref))
    assert "busy: " in engine.look()
    assert "messages waiting" in engine.look()
