"""What a gate keeps of batches, and what it ignores."""

from akkordeon.gate.pending import Entry, PendingBatches
from akkordeon.messages.batches import BatchId, Route
from tests.sentinel.test_in_flight import HOME


def route(seq: int, *, attempt: int = 1, term: int = 0, low: int = 0, incarnation: int = 1) -> Route:
    return Route(BatchId("network", "train", incarnation, seq), attempt, term, low, HOME, 4)


def begun(entries: PendingBatches[str], *routes: Route) -> list[Entry[str] | None]:
    found = [entries.begin(each, version=7) for each in routes]
    for entry in found:
        if entry is not None:
            entry.saved = "graph"
    return found


def test_a_gradient_belongs_to_the_forward_of_its_attempt() -> None:
    entries: PendingBatches[str] = PendingBatches()
    (entry,) = begun(entries, route(3, attempt=2))
    assert entries.take(route(3, attempt=1)) is None
    assert entries.take(route(3, attempt=2)) is entry
    assert entries.take(route(3, attempt=2)) is None


def test_a_gradient_cannot_come_before_its_forward_is_done() -> None:
    entries: PendingBatches[str] = PendingBatches()
    entries.begin(route(3), version=7)
    assert entries.take(route(3)) is None


def test_a_later_attempt_replaces_an_earlier_one_and_never_the_other_way() -> None:
    entries: PendingBatches[str] = PendingBatches()
    _, second, late, again = begun(entries, route(3), route(3, attempt=2), route(3), route(3, attempt=2))
    assert second is not None
    assert late is None
    assert again is None
    assert len(entries) == 1


def test_what_its_sentinel_does_not_wait_for_is_forgotten_and_refused() -> None:
    entries: PendingBatches[str] = PendingBatches()
    begun(entries, route(1), route(2), route(1, incarnation=2))
    entries.mark_applied(route(1).batch)
    entries.mark_applied(route(2).batch)
    begun(entries, route(5, low=2))
    assert entries.take(route(1)) is None
    assert entries.take(route(2)) is not None
    assert entries.take(route(1, incarnation=2)) is not None
    assert begun(entries, route(1, attempt=9)) == [None]
    assert entries.applied == ((1, 2),)


def test_what_was_applied_is_known_by_batch_and_goes_into_the_next_life() -> None:
    entries: PendingBatches[str] = PendingBatches([(1, 4), (2, 0)])
    assert entries.was_applied(route(4, attempt=3).batch)
    assert not entries.was_applied(route(4, incarnation=2).batch)
    entries.mark_applied(route(5).batch)
    assert PendingBatches(entries.applied).applied == ((1, 4), (1, 5), (2, 0))


def test_a_new_term_keeps_nothing_that_is_in_flight_and_all_that_was_applied() -> None:
    entries: PendingBatches[str] = PendingBatches()
    begun(entries, route(1))
    entries.mark_applied(route(0).batch)
    entries.rewire(1)
    assert not entries.is_of_this_term(route(1))
    assert entries.is_of_this_term(route(1, term=1))
    assert len(entries) == 0
    assert entries.was_applied(route(0).batch)


def test_nothing_is_kept_of_sentinels_that_are_gone_and_those_that_are_new_may_come() -> None:
    entries: PendingBatches[str] = PendingBatches()
    begun(entries, route(1), route(2), route(1, incarnation=2))
    entries.mark_applied(route(0).batch)
    assert entries.attend({2}, newest=2) == 2
    assert len(entries) == 1
    assert entries.applied == ()
    assert begun(entries, route(3)) == [None]
    assert begun(entries, route(0, incarnation=3))[0] is not None


def test_a_forward_that_failed_leaves_no_entry_but_never_takes_that_of_a_later_attempt() -> None:
    entries: PendingBatches[str] = PendingBatches()
    first = entries.begin(route(1), version=0)
    second = entries.begin(route(1, attempt=2), version=0)
    assert first is not None
    assert second is not None
    entries.drop(route(1), first)
    assert len(entries) == 1
    entries.drop(route(1, attempt=2), second)
    assert len(entries) == 0


def test_the_number_in_flight_counts_the_others() -> None:
    entries: PendingBatches[str] = PendingBatches()
    found = begun(entries, route(1), route(2), route(2, attempt=2))
    assert [entry.in_flight for entry in found if entry] == [0, 1, 1]
