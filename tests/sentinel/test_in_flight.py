"""The batches that a sentinel has out: attempts, deadlines, and when to give up."""

from akkordeon.actor import Actor, Context, Ref
from akkordeon.engines import Stepped
from akkordeon.messages.batches import BatchId
from akkordeon.sentinel.epochs import Epoch
from akkordeon.sentinel.in_flight import InFlight, OpenBatch


class Home(Actor):
    def receive(self, message: object, context: Context) -> object:
        return None


HOME: Ref = Stepped().spawn("sentinel train", Home)


def batch_id(seq: int) -> BatchId:
    return BatchId("network", "train", 1, seq)


def outbox(num: int = 3, *, limit: float = 100.0, now: float = 0.0) -> InFlight:
    made = InFlight(limit)
    for seq in range(num):
        add(made, seq, now)
    return made


def add(box: InFlight, seq: int, now: float) -> OpenBatch:
    return box.add(batch_id(seq), HOME, 4, now, epoch=Epoch(1), x=None, target=None)


def seqs(batches: list[OpenBatch]) -> list[int]:
    return [batch.route.batch.seq for batch in batches]


def test_every_message_says_the_oldest_batch_that_is_open() -> None:
    box = outbox(3)
    box.came_back(next(iter(box)), 1.0)
    assert [batch.route.low for batch in box] == [0, 0]
    assert add(box, 3, 1.0).route.low == 1


def test_before_the_first_round_trip_a_batch_has_a_quarter_of_its_time_limit() -> None:
    box = outbox(1)
    assert seqs(box.overdue(25.0)) == []
    assert seqs(box.overdue(25.1)) == [0]


def test_a_deadline_follows_the_round_trips_and_doubles_with_each_attempt() -> None:
    box = outbox(1)
    box.came_back(next(iter(box)), 1.0)
    batch = add(box, 1, 1.0)
    for now, patience in ((1.0, 6.0), (7.1, 12.0), (19.2, 24.0)):
        assert seqs(box.overdue(now + patience - 0.1)) == []
        assert seqs(box.overdue(now + patience + 0.05)) == [1]
        box.again(batch, now + patience + 0.1)
    assert batch.route.attempt == 4
    assert box.resent == 3


def test_however_fast_a_network_is_a_deadline_has_two_seconds() -> None:
    box = outbox(1)
    box.came_back(next(iter(box)), 0.001)
    add(box, 1, 1.0)
    assert seqs(box.overdue(2.9)) == []
    assert seqs(box.overdue(3.1)) == [1]


def test_what_is_about_an_earlier_attempt_is_about_nothing() -> None:
    box = outbox(1)
    batch = next(iter(box))
    first = batch.route
    assert box.find(first) is batch
    box.again(batch, 1.0)
    assert box.find(first) is None
    assert box.find(batch.route) is batch
    assert box.find(first._replace(batch=batch_id(9))) is None


def test_the_round_trip_of_a_batch_that_was_sent_again_tells_nothing() -> None:
    box = outbox(1)
    batch = next(iter(box))
    box.again(batch, 50.0)
    box.came_back(batch, 90.0)
    add(box, 1, 100.0)
    assert seqs(box.overdue(125.1)) == [1]


def test_a_batch_has_its_time_limit_in_all_and_others_that_came_back_meanwhile_tell_that_nothing_is_stuck() -> None:
    box = outbox(2)
    first, second = box
    assert box.is_stuck(first)
    box.came_back(second, 60.0)
    assert seqs(box.lost(100.0)) == []
    assert seqs(box.lost(100.1)) == [0]
    assert not box.is_stuck(first)


def test_in_a_new_term_all_batches_are_sent_again_with_new_deadlines() -> None:
    box = outbox(2, limit=40.0)
    assert box.new_term(box.term + 1, None) == []
    assert box.overdue(100.0) == []  # they are not out
    sent = []
    while (batch := box.next_waiting()) is not None:
        box.again(batch, 30.0)
        sent.append(batch)
    assert seqs(sent) == [0, 1]
    assert [batch.route.term for batch in sent] == [1, 1]
    assert seqs(box.overdue(39.9)) == []
    assert seqs(box.overdue(40.1)) == [0, 1]
    assert seqs(box.lost(70.1)) == [0, 1]


def test_nothing_is_about_a_batch_that_waits_to_be_sent_again() -> None:
    box = outbox(1)
    batch = next(iter(box))
    box.new_term(box.term + 1, None)
    assert box.find(batch.route) is None


def end_gate(box: InFlight, blame: BatchId | None) -> list[int]:
    dropped = seqs(box.new_term(box.term + 1, blame))
    for batch in box:
        if batch.route.batch.seq in dropped:
            box.give_up(batch, "poison")
    return dropped


def send_what_may_be_sent(box: InFlight) -> list[int]:
    sent = []
    while (batch := box.next_waiting()) is not None:
        box.again(batch, 1.0)
        sent.append(batch)
    return seqs(sent)


def test_the_batch_that_is_blamed_for_three_gates_is_given_up_and_no_other() -> None:
    box = outbox(3)
    assert end_gate(box, batch_id(1)) == []
    assert send_what_may_be_sent(box) == [0, 1, 2]
    assert end_gate(box, batch_id(1)) == []
    assert send_what_may_be_sent(box) == [0, 2]
    assert end_gate(box, batch_id(1)) == []  # it was not out
    assert send_what_may_be_sent(box) == [0, 2]
    for batch in list(box)[::2]:
        box.came_back(batch, 2.0)
    assert send_what_may_be_sent(box) == [1]
    assert end_gate(box, batch_id(1)) == [1]
    assert list(box.given_up) == ["1 of sentinel 'train': poison"]


def test_where_nobody_knows_which_batch_it_was_those_under_suspicion_go_one_by_one() -> None:
    box = outbox(2)
    for _ in range(2):
        assert end_gate(box, None) == []
        last = send_what_may_be_sent(box)
    assert last == [0]  # alone
    assert box.is_waiting
    box.came_back(next(iter(box)), 2.0)
    assert send_what_may_be_sent(box) == [1]
    add(box, 2, 3.0)
    assert end_gate(box, None) == [1]
    assert send_what_may_be_sent(box) == [2]
