"""The line that a report prints."""

from typing import Any

from akkordeon import Histogram, Report


def report(**changes: Any) -> Report:
    values: dict[str, Any] = {
        "sentinel": "train",
        "kind": "train",
        "epoch": 1,
        "samples": 60_000,
        "loss": 0.96834,
        "metrics": {"accuracy": 0.71041},
        "seconds": 0.52,
        "staleness": {"stem": Histogram({3: 16, 4: 3, 5: 1}), "head": Histogram({0: 1, 1: 2})},
    }
    return Report(**(values | changes))


def test_a_report_of_training_prints_as_the_design_shows() -> None:
    assert str(report()) == (
        "train       epoch    1  loss 0.9683  accuracy 0.7104   0.52 s  115385 samples/s"
        "  staleness stem 3.2 (3|4|5) head 0.7 (1|1|1)"
    )


def test_a_report_of_validation_prints_its_figures_as_the_design_shows() -> None:
    line = str(report(sentinel="validation", kind="validate", loss=0.4381, metrics={"accuracy": 0.8821}, seconds=0.06))
    assert line.startswith("validation  epoch    1  loss 0.4381  accuracy 0.8821   0.06 s")


def test_names_and_epochs_of_any_usual_length_stay_in_columns() -> None:
    lines = [str(report(sentinel=name, epoch=epoch)) for name, epoch in (("a", 1), ("validation", 9999))]
    assert len({line.index("  loss") for line in lines}) == 1


def test_any_number_of_metrics_are_printed_in_their_order() -> None:
    assert "loss 0.9683  top5 0.9000  f1 0.2500   0.52 s" in str(report(metrics={"top5": 0.9, "f1": 0.25}))


def test_what_was_skipped_is_printed_by_reason() -> None:
    line = str(report(skipped={"non-finite at stem": 2, "non-finite loss": 1}))
    assert line.endswith("head 0.7 (1|1|1)  skipped 2 non-finite at stem, 1 non-finite loss")


def test_an_incomplete_epoch_says_so() -> None:
    assert str(report(complete=False)).endswith("  (incomplete)")
    assert "incomplete" not in str(report())


def test_without_staleness_nothing_is_said_of_it() -> None:
    assert "staleness" not in str(report(staleness={}))


def test_throughput_is_samples_by_seconds_and_zero_where_no_time_passed() -> None:
    assert report(samples=100, seconds=0.5).samples_per_second == 200.0
    assert report(seconds=0.0).samples_per_second == 0.0


def test_outputs_are_not_printed() -> None:
    assert "outputs" not in repr(report(outputs=(1, 2, 3)))
