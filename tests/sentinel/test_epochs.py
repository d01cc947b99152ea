"""What a sentinel knows of its epochs."""

import json
import math

from torch import Tensor

from akkordeon.messages.batches import NON_FINITE, NOTHING_TO_LEARN
from akkordeon.messages.histogram import Histogram
from akkordeon.saving.codec import decode, encode
from akkordeon.sentinel.epochs import Epoch, Epochs

GATES = ("stem", "body", "head")


def ledger() -> Epochs:
    made = Epochs("train", "train", ("accuracy",))
    made.gates = GATES
    return made


def test_an_epoch_begins_with_the_first_call() -> None:
    book = ledger()
    epoch = book.begin(1, 10.0)
    assert book.begin(1, 99.0) is epoch
    assert (epoch.number, epoch.began) == (1, 10.0)


def test_an_epoch_that_is_only_known_of_is_not_under_way() -> None:
    book = ledger()
    early = book.epoch(2)
    assert book.under_way() == []
    assert book.latest == 0
    assert book.begin(2, 7.0) is early
    assert (early.began, book.latest) == (7.0, 2)
    assert book.under_way() == [early]


def test_an_epoch_is_complete_when_the_loader_ended_and_all_batches_are_back() -> None:
    book = ledger()
    epoch = book.begin(1, 0.0)
    assert not epoch.complete
    for _ in range(3):
        book.came_back(epoch, (0, 0, 0))
    assert not epoch.complete
    epoch.batches = 3
    assert epoch.complete


def test_an_epoch_whose_loader_ended_first_is_complete_with_its_last_batch() -> None:
    book = ledger()
    epoch = book.begin(1, 0.0)
    epoch.batches = 2
    book.came_back(epoch, ())
    assert not epoch.complete
    book.came_back(epoch, ())
    assert epoch.complete


def test_figures_are_means_over_samples() -> None:
    book = ledger()
    epoch = book.begin(1, 2.0)
    epoch.count({"loss": 1.0, "accuracy": 0.5}, 30)
    epoch.count({"loss": 4.0, "accuracy": 1.0}, 10)
    report = book.close(epoch, 5.5)
    assert (report.sentinel, report.kind, report.epoch) == ("train", "train", 1)
    assert (report.samples, report.loss, report.metrics) == (40, 1.75, {"accuracy": 0.625})
    assert report.seconds == 3.5


def test_staleness_is_told_apart_by_gate_in_the_order_of_the_chain() -> None:
    book = ledger()
    epoch = book.begin(1, 0.0)
    book.came_back(epoch, (0, 1, 3))  # a trail begins at the last gate
    book.came_back(epoch, (1, 2, 4))
    report = book.close(epoch, 1.0)
    assert [(gate, late.counts) for gate, late in report.staleness.items()] == [
        ("stem", {3: 1, 4: 1}),
        ("body", {1: 1, 2: 1}),
        ("head", {0: 1, 1: 1}),
    ]


def test_a_gradient_that_was_not_applied_is_counted_by_reason_and_gate() -> None:
    book = ledger()
    epoch = book.begin(1, 0.0)
    book.came_back(epoch, (0, NON_FINITE, 2))
    book.came_back(epoch, (0, NON_FINITE, NON_FINITE))
    report = book.close(epoch, 1.0)
    assert report.skipped == {"non-finite at body": 2, "non-finite at stem": 1}
    assert report.staleness == {"stem": Histogram({2: 1}), "head": Histogram({0: 2})}


def test_a_gate_that_has_nothing_to_learn_is_neither_stale_nor_skipped() -> None:
    book = ledger()
    epoch = book.begin(1, 0.0)
    book.came_back(epoch, (0, NOTHING_TO_LEARN, 1))
    report = book.close(epoch, 1.0)
    assert report.skipped == {}
    assert list(report.staleness) == ["stem", "head"]


def test_epochs_may_overlap_and_end_out_of_order() -> None:
    book = ledger()
    first, second = book.begin(1, 0.0), book.begin(2, 1.0)
    assert book.under_way() == [first, second]
    first.count({"loss": 1.0}, 1)
    second.count({"loss": 2.0}, 1)
    assert book.close(second, 2.0).loss == 2.0
    assert book.under_way() == [first]
    assert book.close(first, 2.0).loss == 1.0
    assert book.under_way() == []
    assert book.latest == 2


def test_batches_are_counted_over_all_epochs() -> None:
    book = ledger()
    for number in (1, 2):
        epoch = book.begin(number, 0.0)
        book.came_back(epoch, ())
        book.came_back(epoch, ())
    assert book.done == 4


def test_outputs_are_reported_in_the_order_of_the_data() -> None:
    book = ledger()
    epoch = book.begin(1, 0.0)
    epoch.outputs.update({2: "third", 0: "first", 1: "second"})
    assert book.close(epoch, 1.0).outputs == ("first", "second", "third")


def test_an_epoch_closed_before_its_end_is_reported_as_incomplete_and_without_figures_as_nan() -> None:
    book = ledger()
    report = book.close(book.begin(1, 0.0), 1.0)
    assert not report.complete
    assert math.isnan(report.loss)
    assert math.isnan(report.metrics["accuracy"])


def test_an_epoch_that_goes_on_where_it_was_saved_knows_all_that_it_knew() -> None:
    book = ledger()
    epoch = book.begin(1, 0.0)
    epoch.count({"loss": 1.0}, 5)
    book.came_back(epoch, (0, NON_FINITE, 3))
    tensors: dict[str, Tensor] = {}
    saved = json.loads(json.dumps(encode(epoch.state(2.0), tensors, "epoch")))
    again = Epoch(1)
    again.restore(decode(saved, tensors), 10.0)
    assert again.staleness == epoch.staleness == {"stem": Histogram({3: 1}), "head": Histogram({0: 1})}
    assert (again.began, again.skipped, again.figures["loss"].value) == (8.0, {"non-finite at body": 1}, 1.0)


def test_what_was_skipped_is_counted_over_all_epochs() -> None:
    book = ledger()
    for number in (1, 2):
        book.given_up(book.begin(number, 0.0), "lost")
    book.close(book.epoch(1), 1.0)
    assert book.status(None, None, 1.0).skipped == {"lost": 2}
