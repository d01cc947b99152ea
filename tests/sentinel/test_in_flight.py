"""The batches that a sentinel has out: who has them, attempts, and when to give up."""

from akkordeon.actor import Actor, Context, Ref
from akkordeon.engines import Stepped
from akkordeon.messages.batches import BatchId
from akkordeon.messages.leases import Alive, InHand
from akkordeon.sentinel.epochs import Epoch
from akkordeon.sentinel.in_flight import InFlight, OpenBatch


class Home(Actor):
    def receive(self, message: object, context: Context) -> object:
        return None


HOME: Ref = Stepped().spawn("sentinel train", Home)

GATES: tuple[Ref, ...] = tuple(Stepped().spawn(f"gate {number}", Home) for number in range(2))


def batch_id(seq: int) -> BatchId:
    return BatchId("network", "train", 1, seq)


def filled(num: int = 3, *, limit: float = 100.0, now: float = 0.0) -> InFlight:
    made = InFlight(limit)
    for seq in range(num):
        add(made, seq, now)
    return made


def add(in_flight: InFlight, seq: int, now: float) -> OpenBatch:
    return in_flight.add(batch_id(seq), HOME, 4, now, epoch=Epoch(1), x=None, target=None)


def back(in_flight: InFlight, now: float, batch: OpenBatch | None = None) -> None:
    """Let a batch come back, the oldest by default."""
    batch = in_flight.oldest if batch is None else batch
    assert batch is not None
    assert in_flight.find(batch.route, now) is batch
    in_flight.came_back(batch, now)


def seqs(batches: list[OpenBatch]) -> list[int]:
    return [batch.route.batch.seq for batch in batches]


def test_every_message_says_the_oldest_batch_that_is_open() -> None:
    in_flight = filled(3)
    in_flight.came_back(next(iter(in_flight)), 1.0)
    assert [batch.route.low for batch in in_flight] == [0, 0]
    assert add(in_flight, 3, 1.0).route.low == 1


def sign(gate: Ref, in_flight: InFlight, *in_hand: InHand) -> Alive:
    return Alive(gate, 1, in_flight.term, 0, "", in_hand)


def in_hand(batch: OpenBatch, seconds: float = 0.0) -> InHand:
    return InHand(batch.route.batch, batch.route.attempt, seconds)


def nobody_has_any(in_flight: InFlight, *times: float) -> None:
    """Let all gates say so at these moments."""
    for now in times:
        for gate in GATES[: in_flight.gates]:
            in_flight.saw(sign(gate, in_flight), now)


def missing(in_flight: InFlight) -> list[int]:
    return seqs(in_flight.overdue(may_be_lost=True))


def test_a_batch_is_sent_again_once_every_gate_has_said_twice_that_it_does_not_have_it() -> None:
    in_flight = filled(1)
    in_flight.gates = 2
    for now in (1.0, 17.0, 33.0):
        in_flight.saw(sign(GATES[0], in_flight), now)
        assert missing(in_flight) == []  # the other may have it
    in_flight.saw(sign(GATES[1], in_flight), 40.0)
    assert missing(in_flight) == []  # it may have been on its way
    in_flight.saw(sign(GATES[1], in_flight), 54.9)
    assert missing(in_flight) == []
    in_flight.saw(sign(GATES[1], in_flight), 55.0)
    assert missing(in_flight) == [0]


def test_where_no_message_is_lost_nothing_is_sent_again() -> None:
    in_flight = filled(1)
    nobody_has_any(in_flight, 1.0, 20.0)
    assert missing(in_flight) == [0]
    assert in_flight.overdue(may_be_lost=False) == []


def test_what_somebody_has_in_hand_is_not_sent_again_however_long_that_takes() -> None:
    in_flight = filled(2)
    in_flight.gates = 2
    slow, lost = in_flight
    for now in range(1, 400, 3):
        in_flight.saw(sign(GATES[0], in_flight), now)
        in_flight.saw(sign(GATES[1], in_flight, in_hand(slow, 99.0 if now % 2 else 0.0)), now)
        assert slow not in in_flight.overdue(may_be_lost=True)
        assert slow not in in_flight.lost(now)
        assert not in_flight.why_stuck(now)
    assert in_flight.overdue(may_be_lost=True) == [lost]


def test_who_has_another_attempt_or_is_of_another_term_does_not_have_it() -> None:
    in_flight = filled(1)
    batch = next(iter(in_flight))
    before = in_hand(batch)
    in_flight.again(batch, 1.0)
    for now in (2.0, 100.0):
        in_flight.saw(sign(GATES[0], in_flight, before), now)
    assert missing(in_flight) == [0]
    in_flight.again(batch, 100.0)
    for now in (101.0, 300.0):
        in_flight.saw(Alive(GATES[0], 1, in_flight.term + 1, 0, ""), now)
    assert missing(in_flight) == []


def test_a_batch_may_be_on_its_way_for_twice_as_long_as_others_were_and_each_attempt_doubles_that() -> None:
    in_flight = filled(1)
    back(in_flight, 5.0)
    batch = add(in_flight, 1, 5.0)
    nobody_has_any(in_flight, 6.0, 15.5)
    assert missing(in_flight) == []
    nobody_has_any(in_flight, 16.0)
    assert missing(in_flight) == [1]
    in_flight.again(batch, 17.0)
    nobody_has_any(in_flight, 18.0, 35.0)
    assert missing(in_flight) == []
    nobody_has_any(in_flight, 38.0)
    assert missing(in_flight) == [1]
    assert batch.route.attempt == 2
    assert in_flight.resent == 1


def test_however_fast_a_network_is_a_batch_may_be_on_its_way_for_two_seconds() -> None:
    in_flight = filled(1)
    back(in_flight, 0.001)
    add(in_flight, 1, 1.0)
    nobody_has_any(in_flight, 1.5, 3.4)
    assert missing(in_flight) == []
    nobody_has_any(in_flight, 3.5)
    assert missing(in_flight) == [1]


def test_what_is_about_an_earlier_attempt_is_about_nothing() -> None:
    in_flight = filled(1)
    batch = next(iter(in_flight))
    first = batch.route
    assert in_flight.find(first, 1.0) is batch
    in_flight.again(batch, 1.0)
    assert in_flight.find(first, 1.0) is None
    assert in_flight.find(batch.route, 1.0) is batch
    assert in_flight.find(first._replace(batch=batch_id(9)), 1.0) is None


def test_nothing_is_waited_for_behind_a_computation_that_takes_longer_than_the_time_limit() -> None:
    in_flight = filled(3, limit=40.0)
    first, second, third = in_flight
    back(in_flight, 3.0, third)
    in_flight.saw(sign(GATES[0], in_flight, in_hand(first, 39.9), in_hand(second)), 43.5)
    assert not in_flight.why_stuck(43.5)
    in_flight.saw(sign(GATES[0], in_flight, in_hand(first, 41.4), in_hand(second)), 45.0)
    assert in_flight.why_stuck(45.0) == (
        "batch 0 of sentinel 'train' has not come back after 45.0 s (time_limit is 40 s), nor has any other for "
        "42.0 s: gate 0 has been computing batch 0 of sentinel 'train' for 41.4 s, so it is slow, or hangs. Raise "
        "time_limit if it needs longer"
    )
    back(in_flight, 46.0)
    assert not in_flight.why_stuck(46.0)


def test_a_batch_that_no_gate_has_is_lost_after_the_time_limit_or_a_minute_if_none_ever_had_it() -> None:
    in_flight = filled(2, limit=20.0)
    first, second = in_flight
    in_flight.saw(sign(GATES[0], in_flight, in_hand(first)), 1.0)
    nobody_has_any(in_flight, 2.0, 20.0)
    assert in_flight.lost(20.9) == []
    assert in_flight.lost(21.1) == [first]
    assert in_flight.why_stuck(21.1) == ""  # the other may yet come back
    assert in_flight.lost(60.0) == [first]
    assert in_flight.lost(60.1) == [first, second]
    assert "no gate has it, so it was lost on its way" in in_flight.why_stuck(60.1)


def test_a_sentinel_that_hears_nothing_gives_up_after_a_minute_in_which_it_was_awake() -> None:
    in_flight = filled(1, limit=20.0)
    for now in range(60):
        assert not in_flight.why_stuck(now)
    in_flight.saw(sign(GATES[0], in_flight, in_hand(next(iter(in_flight)))), 59.0)
    assert not in_flight.why_stuck(1000.0)  # it slept
    for now in range(1001, 1060):
        assert not in_flight.why_stuck(now)
    assert "no gate has sent a sign of life for 61.0 s" in in_flight.why_stuck(1061.0)


def test_in_a_new_term_all_batches_are_sent_again_and_have_all_their_time() -> None:
    in_flight = filled(2, limit=40.0)
    nobody_has_any(in_flight, 1.0, 20.0)
    assert in_flight.new_term(in_flight.term + 1, None) == []
    assert missing(in_flight) == []  # they are not out
    assert in_flight.lost(100.0) == []
    sent = []
    while (batch := in_flight.next_waiting()) is not None:
        in_flight.again(batch, 30.0)
        sent.append(batch)
    assert seqs(sent) == [0, 1]
    assert [batch.route.term for batch in sent] == [1, 1]
    nobody_has_any(in_flight, 31.0, 45.9)
    assert missing(in_flight) == []
    nobody_has_any(in_flight, 46.0)
    assert missing(in_flight) == [0, 1]
    assert seqs(in_flight.lost(90.0)) == []
    assert seqs(in_flight.lost(90.1)) == [0, 1]


def test_nothing_is_about_a_batch_that_waits_to_be_sent_again() -> None:
    in_flight = filled(1)
    batch = next(iter(in_flight))
    in_flight.new_term(in_flight.term + 1, None)
    assert in_flight.find(batch.route, 1.0) is None


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
