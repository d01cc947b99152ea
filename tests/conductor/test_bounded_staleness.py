"""The bound on staleness limits what is let in, so a healthy run skips nothing; what comes later still is skipped."""

import pytest
import torch

from akkordeon import TrainingSentinel, ValidationSentinel, WiringError, launch
from akkordeon.engines import Stepped
from tests.network.patience import wait_until
from tests.networks import data, gates, stepped, training, validation

SIZES = [5] * 60


def trained(in_flight: int, max_staleness: int | None, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    with launch(gates(), engine=stepped(seed), max_staleness=max_staleness) as network:
        network.attach(training(in_flight=in_flight, sizes=SIZES, epochs=1))
        list(network.watch())
        return network.state_dict()


@pytest.mark.parametrize("seed", range(3))
def test_a_bound_of_nothing_is_synchronous_training(seed: int) -> None:
    bounded, synchronous = trained(8, 0, seed), trained(1, None, seed=9)
    assert all(torch.equal(bounded[name], synchronous[name]) for name in synchronous)


@pytest.mark.parametrize("bound", [1, 2, 4, 7])
def test_a_healthy_run_keeps_to_its_bound_reaches_it_and_skips_nothing(bound: int) -> None:
    largest = 0
    for seed in range(5):
        with launch(gates(), engine=stepped(seed), max_staleness=bound) as network:
            network.attach(training(in_flight=16, sizes=SIZES, epochs=1))
            (report,) = network.watch()
            assert report.samples == sum(SIZES)
            assert report.skipped == {}
            largest = max(largest, *(gate.staleness.max for gate in network.status().gates))
    assert largest == bound


def test_what_is_applied_is_never_staler_than_the_bound_however_many_sentinels_there_are() -> None:
    for seed in range(5):
        with launch(gates(), engine=stepped(seed), max_staleness=3) as network:
            for name in ("one", "two"):
                network.attach(training(name, in_flight=2, sizes=SIZES, epochs=1))
            reports = list(network.watch())
            assert [report.samples for report in reports] == [sum(SIZES)] * 2
            gates_ = network.status().gates
            assert all(gate.staleness.max <= 3 for gate in gates_)
            skipped = sum(gate.skipped.get("too stale", 0) for gate in gates_)
            counted = sum(count for report in reports for why, count in report.skipped.items() if "too stale" in why)
            assert skipped == counted
            assert sum(gate.version for gate in gates_) == 3 * 2 * len(SIZES) - skipped


def test_sentinels_share_what_may_be_in_flight_and_get_what_is_left() -> None:
    with launch(gates(), engine=stepped(), max_staleness=4) as network:
        network.attach(training("one", in_flight=3))
        network.attach(training("two", in_flight=3))
        wait_until(network, lambda: all(each.window for each in network.status().sentinels))
        assert [each.window for each in network.status().sentinels] == [3, 2]
        with pytest.raises(
            WiringError,
            match=r"sentinel 'three' cannot join: all batches that may be in flight at once \(max_staleness=4\) are "
            r"granted: 'one' 3, 'two' 2\. Detach one of them",
        ):
            network.attach(training("three"))
        network.attach(validation())  # changes no weights, so it is not limited by staleness
        network.detach("one")
        network.attach(training("three", in_flight=8))
        wait_until(network, lambda: all(each.window for each in network.status().sentinels))
        assert {each.name: each.window for each in network.status().sentinels}["three"] == 3


def test_capacity_limits_all_kinds_of_sentinels() -> None:
    with launch(gates(), engine=stepped(), capacity=6) as network:
        network.attach(training("one", in_flight=4))
        network.attach(validation(in_flight=4, every=1.0))
        wait_until(network, lambda: all(each.window for each in network.status().sentinels))
        assert [each.window for each in network.status().sentinels] == [4, 2]
        with pytest.raises(WiringError, match=r"\(capacity=6\) are granted: 'one' 4, 'validation' 2"):
            network.attach(validation("another"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_staleness": -1}, "max_staleness must be a whole number, at least 0, or None, not -1"),
        ({"max_staleness": 1.5}, "max_staleness must be a whole number, at least 0, or None, not 1.5"),
        ({"capacity": 0}, "capacity must be a whole number, at least 1, not 0"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(WiringError, match=message):
        launch(gates(), engine=stepped(), **settings)  # type: ignore[arg-type]


def test_without_a_bound_only_what_is_far_too_late_is_skipped() -> None:
    engine = Stepped(5)
    with launch(gates(), engine=engine) as network:
        network.attach(TrainingSentinel("train", data(SIZES), torch.nn.functional.cross_entropy, in_flight=8, epochs=1))
        network.attach(ValidationSentinel("validation", data(), torch.nn.functional.cross_entropy, every=0.5))
        (report,) = [report for report in network.watch() if report.kind == "train"]
        assert report.skipped == {}
