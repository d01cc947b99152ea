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


def filled(num: int = 3, *, limit: float = 100.0, now: float = 0.0) -> InFlight:
    made = InFlight(limit)
    for seq in range(num):
        add(made, seq, now)
    return made


def add(in_flight: InFlight, seq: int, now: float) -> OpenBatch:
    return in_flight.add(batch_id(seq), HOME, 4, now, epoch=Epoch(1), x=None, target=None)


def seqs(batches: list[OpenBatch]) -> list[int]:
    return [batch.route.batch.seq for batch in batches]


def test_every_message_says_the_oldest_batch_that_is_open() -> None:
    in_flight = filled(3)
    in_flight.came_back(next(iter(in_flight)), 1.0)
    assert [batch.route.low for batch in in_flight] == [0, 0]
    assert add(in_flight, 3, 1.0).route.low == 1


def test_before_the_first_round_trip_a_batch_has_a_quarter_of_its_time_limit() -> None:
    in_flight = filled(1)
    assert seqs(in_flight.overdue(25.0)) == []
    assert seqs(in_flight.overdue(25.1)) == [0]


def test_a_deadline_follows_the_round_trips_and_doubles_with_each_attempt() -> None:
    in_flight = filled(1)
    in_flight.came_back(next(iter(in_flight)), 1.0)
    batch = add(in_flight, 1, 1.0)
    for now, patience in ((1.0, 6.0), (7.1, 12.0), (19.2, 24.0)):
        assert seqs(in_flight.overdue(now + patience - 0.1)) == []
        assert seqs(in_flight.overdue(now + patience + 0.05)) == [1]
        in_flight.again(batch, now + patience + 0.1)
    assert batch.route.attempt == 4
    assert in_flight.resent == 3


def test_however_fast_a_network_is_a_deadline_has_two_seconds() -> None:
    in_flight = filled(1)
    in_flight.came_back(next(iter(in_flight)), 0.001)
    add(in_flight, 1, 1.0)
    assert seqs(in_flight.overdue(2.9)) == []
    assert seqs(in_flight.overdue(3.1)) == [1]


def test_what_is_about_an_earlier_attempt_is_about_nothing() -> None:
    in_flight = filled(1)
    batch = next(iter(in_flight))
    first = batch.route
    assert in_flight.find(first) is batch
    in_flight.again(batch, 1.0)
    assert in_flight.find(first) is None
    assert in_flight.find(batch.route) is batch
    assert in_flight.find(first._replace(batch=batch_id(9))) is None


def test_the_round_trip_of_a_batch_that_was_sent_again_tells_nothing() -> None:
    in_flight = filled(1)
    batch = next(iter(in_flight))
    in_flight.again(batch, 50.0)
    in_flight.came_back(batch, 90.0)
    add(in_flight, 1, 100.0)
    assert seqs(in_flight.overdue(125.1)) == [1]


def test_a_batch_has_its_time_limit_in_all_and_others_that_came_back_meanwhile_tell_that_nothing_is_stuck() -> None:
    in_flight = filled(2)
    first, second = in_flight
    assert in_flight.is_stuck(first)
    in_flight.came_back(second, 60.0)
    assert seqs(in_flight.lost(100.0)) == []
    assert seqs(in_flight.lost(100.1)) == [0]
    assert not in_flight.is_stuck(first)


def test_in_a_new_term_all_batches_are_sent_again_with_new_deadlines() -> None:
    in_flight = filled(2, limit=40.0)
    assert in_flight.new_term(in_flight.term + 1, None) == []
    assert in_flight.overdue(100.0) == []  # they are not out
    sent = []
    while (batch := in_flight.next_waiting()) is not None:
        in_flight.again(batch, 30.0)
        sent.append(batch)
    assert seqs(sent) == [0, 1]
    assert [batch.route.term for batch in sent] == [1, 1]
    assert seqs(in_flight.overdue(39.9)) == []
    assert seqs(in_flight.overdue(40.1)) == [0, 1]
    assert seqs(in_flight.lost(70.1)) == [0, 1]


def test_nothing_is_about_a_batch_that_waits_to_be_sent_again() -> None:
    in_flight = filled(1)
    batch = next(iter(in_flight))
    in_flight.new_term(in_flight.term + 1, None)
    assert in_flight.find(batch.route) is None


def end_gate(in_flight: InFlight, blame: BatchId | None) -> list[int]:
    dropped = seqs(in_flight.new_term(in_flight.term + 1, blame))
    for batch in in_flight:
        if batch.route.batch.seq in dropped:
            in_flight.give_up(batch, "poison")
    return dropped


def send_what_may_be_sent(in_flight: InFlight) -> list[int]:
    sent = []
    while (batch := in_flight.next_waiting()) is not None:
        in_flight.again(batch, 1.0)
        sent.append(batch)
    return seqs(sent)


def test_the_batch_that_is_blamed_for_three_gates_is_given_up_and_no_other() -> None:
    in_flight = filled(3)
    assert end_gate(in_flight, batch_id(1)) == []
    assert send_what_may_be_sent(in_flight) == [0, 1, 2]
    assert end_gate(in_flight, batch_id(1)) == []
    assert send_what_may_be_sent(in_flight) == [0, 2]
    assert end_gate(in_flight, batch_id(1)) == []  # it was not out
    assert send_what_may_be_sent(in_flight) == [0, 2]
    for batch in list(in_flight)[::2]:
        in_flight.came_back(batch, 2.0)
    assert send_what_may_be_sent(in_flight) == [1]
    assert end_gate(in_flight, batch_id(1)) == [1]
    assert list(in_flight.given_up) == ["1 of sentinel 'train': poison"]


def test_where_nobody_knows_which_batch_it_was_those_under_suspicion_go_one_by_one() -> None:
    in_flight = filled(2)
    for _ in range(2):
        assert end_gate(in_flight, None) == []
        last = send_what_may_be_sent(in_flight)
    assert last == [0]  # alone
    assert in_flight.is_waiting
    in_flight.came_back(next(iter(in_flight)), 2.0)
    assert send_what_may_be_sent(in_flight) == [1]
    add(in_flight, 2, 3.0)
    assert end_gate(in_flight, None) == [1]
    assert send_what_may_be_sent(in_flight) == [2]
