"""What a sentinel knows of its epochs."""

import json
import math

from torch import Tensor
from torch.nn.functional import cross_entropy

from akkordeon.messages.batches import NON_FINITE, NOTHING_TO_LEARN
from akkordeon.messages.histogram import Histogram
from akkordeon.saving.codec import decode, encode
from akkordeon.sentinel.description import TrainingSentinel
from akkordeon.sentinel.epochs import Epoch, Epochs
from akkordeon.sentinel.metrics import accuracy

GATES = ("stem", "body", "head")


def started() -> Epochs:
    made = Epochs(TrainingSentinel("train", list, cross_entropy, {"accuracy": accuracy}))
    made.gates = GATES
    return made


def test_an_epoch_begins_with_the_first_call() -> None:
    epochs = started()
    epoch = epochs.begin(1, 10.0)
    assert epochs.begin(1, 99.0) is epoch
    assert (epoch.number, epoch.began) == (1, 10.0)


def test_an_epoch_that_is_only_known_of_is_not_under_way() -> None:
    epochs = started()
    early = epochs.epoch(2)
    assert epochs.under_way() == []
    assert epochs.latest == 0
    assert epochs.begin(2, 7.0) is early
    assert (early.began, epochs.latest) == (7.0, 2)
    assert epochs.under_way() == [early]


def test_an_epoch_is_complete_when_the_loader_ended_and_all_batches_are_back() -> None:
    epochs = started()
    epoch = epochs.begin(1, 0.0)
    assert not epoch.complete
    for _ in range(3):
        epochs.came_back(epoch, (0, 0, 0))
    assert not epoch.complete
    epoch.batches = 3
    assert epoch.complete


def test_an_epoch_whose_loader_ended_first_is_complete_with_its_last_batch() -> None:
    epochs = started()
    epoch = epochs.begin(1, 0.0)
    epoch.batches = 2
    epochs.came_back(epoch, ())
    assert not epoch.complete
    epochs.came_back(epoch, ())
    assert epoch.complete


def test_figures_are_means_over_samples() -> None:
    epochs = started()
    epoch = epochs.begin(1, 2.0)
    epoch.count({"loss": 1.0, "accuracy": 0.5}, 30)
    epoch.count({"loss": 4.0, "accuracy": 1.0}, 10)
    report = epochs.close(epoch, 5.5)
    assert (report.sentinel, report.kind, report.epoch) == ("train", "train", 1)
    assert (report.samples, report.loss, report.metrics) == (40, 1.75, {"accuracy": 0.625})
    assert report.seconds == 3.5


def test_staleness_is_told_apart_by_gate_in_the_order_of_the_chain() -> None:
    epochs = started()
    epoch = epochs.begin(1, 0.0)
    epochs.came_back(epoch, (0, 1, 3))  # a trail begins at the last gate
    epochs.came_back(epoch, (1, 2, 4))
    report = epochs.close(epoch, 1.0)
    assert [(gate, late.counts) for gate, late in report.staleness.items()] == [
        ("stem", {3: 1, 4: 1}),
        ("body", {1: 1, 2: 1}),
        ("head", {0: 1, 1: 1}),
    ]


def test_a_gradient_that_was_not_applied_is_counted_by_reason_and_gate() -> None:
    epochs = started()
    epoch = epochs.begin(1, 0.0)
    epochs.came_back(epoch, (0, NON_FINITE, 2))
    epochs.came_back(epoch, (0, NON_FINITE, NON_FINITE))
    report = epochs.close(epoch, 1.0)
    assert report.skipped == {"non-finite at body": 2, "non-finite at stem": 1}
    assert report.staleness == {"stem": Histogram({2: 1}), "head": Histogram({0: 2})}


def test_a_gate_that_has_nothing_to_learn_is_neither_stale_nor_skipped() -> None:
    epochs = started()
    epoch = epochs.begin(1, 0.0)
    epochs.came_back(epoch, (0, NOTHING_TO_LEARN, 1))
    report = epochs.close(epoch, 1.0)
    assert report.skipped == {}
    assert list(report.staleness) == ["stem", "head"]


def test_epochs_may_overlap_and_end_out_of_order() -> None:
    epochs = started()
    first, second = epochs.begin(1, 0.0), epochs.begin(2, 1.0)
    assert epochs.under_way() == [first, second]
    first.count({"loss": 1.0}, 1)
    second.count({"loss": 2.0}, 1)
    assert epochs.close(second, 2.0).loss == 2.0
    assert epochs.under_way() == [first]
    assert epochs.close(first, 2.0).loss == 1.0
    assert epochs.under_way() == []
    assert epochs.latest == 2


def test_batches_are_counted_over_all_epochs() -> None:
    epochs = started()
    for number in (1, 2):
        epoch = epochs.begin(number, 0.0)
        epochs.came_back(epoch, ())
        epochs.came_back(epoch, ())
    assert epochs.done == 4


def test_outputs_are_reported_in_the_order_of_the_data() -> None:
    epochs = started()
    epoch = epochs.begin(1, 0.0)
    epoch.outputs.update({2: "third", 0: "first", 1: "second"})
    assert epochs.close(epoch, 1.0).outputs == ("first", "second", "third")


def test_an_epoch_closed_before_its_end_is_reported_as_incomplete_and_without_figures_as_nan() -> None:
    epochs = started()
    report = epochs.close(epochs.begin(1, 0.0), 1.0)
    assert not report.complete
    assert math.isnan(report.loss)
    assert math.isnan(report.metrics["accuracy"])


def test_an_epoch_that_goes_on_where_it_was_saved_knows_all_that_it_knew() -> None:
    epochs = started()
    epoch = epochs.begin(1, 0.0)
    epoch.count({"loss": 1.0}, 5)
    epochs.came_back(epoch, (0, NON_FINITE, 3))
    tensors: dict[str, Tensor] = {}
    saved = json.loads(json.dumps(encode(epoch.state(2.0), tensors, "epoch")))
    again = Epoch(1)
    again.restore(decode(saved, tensors), 10.0)
    assert again.staleness == epoch.staleness == {"stem": Histogram({3: 1}), "head": Histogram({0: 1})}
    assert (again.began, again.skipped, again.figures["loss"].value) == (8.0, {"non-finite at body": 1}, 1.0)


def test_what_was_skipped_is_counted_over_all_epochs() -> None:
    epochs = started()
    for number in (1, 2):
        epochs.given_up(epochs.begin(number, 0.0), "lost")
    epochs.close(epochs.epoch(1), 1.0)
    assert epochs.status(1.0, in_flight=0, draining=False).skipped == {"lost": 2}
