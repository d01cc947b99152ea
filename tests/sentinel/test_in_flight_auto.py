"""Sentinels that find out how many batches to have in flight: the figure to be reached, and who hears of it."""

import itertools
import json
import logging
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.cli.output import Output
from akkordeon.engines import Delays, Stepped, by_actor
from akkordeon.messages.reports import Adjustment
from tests.network.patience import wait_until
from tests.networks import gates, stepped, training, validation

NETWORKS = {
    "two even": (0.01, 0.01),
    "two uneven": (0.01, 0.03),
    "four even": (0.01, 0.01, 0.01, 0.01),
    "four uneven": (0.01, 0.004, 0.02, 0.007),
}
"""Seconds that each gate takes for a forward, and as many for a gradient."""

EPOCH = 100


def pairs() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(EPOCH, 2, 3, generator=generator)
    return [(each, torch.tensor([0, 1])) for each in x]


def launched(works: tuple[float, ...], workers: int | None) -> ak.Network:
    made = [ak.Gate(f"g{n}", nn.Linear(3, 3), partial(SGD, lr=0.01)) for n in range(len(works))]
    taking = by_actor({f"gate g{n}": seconds for n, seconds in enumerate(works)}, 0.0)
    return ak.launch(made, engine=Stepped(1, delays=Delays(work=taking), workers=workers))


def throughput(works: tuple[float, ...], workers: int | None, in_flight: int, epochs: int = 4) -> float:
    """Return batches per virtual second, without the first epoch."""
    with launched(works, workers) as network:
        assert isinstance(network.engine, Stepped)
        network.attach(ak.TrainingSentinel("train", pairs, cross_entropy, in_flight=in_flight))
        ends = [network.engine.time for _ in itertools.islice(network.watch(), epochs)]
    return EPOCH * (epochs - 1) / (ends[-1] - ends[0])


def adjustments(caplog: pytest.LogCaptureFixture) -> list[Adjustment]:
    return [record.adjustment for record in caplog.records if hasattr(record, "adjustment")]


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_97_percent_of_the_best_are_reached_at_the_smallest_such_window_or_one_more(
    name: str, workers: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "akkordeon")
    works = NETWORKS[name]
    with launched(works, workers) as network:
        network.attach(ak.TrainingSentinel("train", pairs, cross_entropy, in_flight="auto"))
        for report in itertools.islice(network.watch(), 45):
            assert not report.skipped
    kept = adjustments(caplog)[-1].window
    best = max(throughput(works, workers, window) for window in (kept, kept + 3, 10))
    assert throughput(works, workers, kept) >= 0.97 * best
    assert kept <= 2 or throughput(works, workers, kept - 2) < 0.97 * best


def test_each_change_is_logged_and_its_reason_is_in_the_status(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "akkordeon")
    with launched((0.01, 0.01), None) as network:
        network.attach(ak.TrainingSentinel("train", pairs, cross_entropy, in_flight="auto"))
        wait_until(network, lambda: network.status().sentinels[0].window == 1)
        list(itertools.islice(network.watch(), 6))
        (sentinel,) = network.status().sentinels
    first, *_ = adjustments(caplog)
    assert (first.sentinel, first.before, first.window) == ("train", 1, 2)
    assert str(first).startswith("train: in_flight 1 -> 2 (")
    assert str(first) in caplog.messages
    assert "batches/s" in sentinel.reason
    assert sentinel.window >= 2


def test_who_looks_at_another_sentinel_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "akkordeon")
    with launched((0.01, 0.01), None) as network:
        network.attach(ak.TrainingSentinel("train", pairs, cross_entropy, in_flight="auto", epochs=6))
        network.attach(ak.TrainingSentinel("other", pairs, cross_entropy, epochs=2))
        list(network.watch("other"))
    assert {each.sentinel for each in adjustments(caplog)} <= {"other"}


def test_it_gets_what_the_limits_leave_and_others_get_the_rest() -> None:
    with ak.launch(gates(), engine=stepped(), max_staleness=20) as network:
        network.attach(training("auto", in_flight="auto", sizes=[5] * 500))
        network.attach(training("other", in_flight=9, sizes=[5] * 500))
        with pytest.raises(ak.WiringError, match="'auto' 16, 'other' 5"):
            network.attach(training("third"))


def test_a_window_can_be_found_out_from_now_on_and_no_longer() -> None:
    with launched((0.01, 0.01), None) as network:
        network.attach(ak.TrainingSentinel("train", pairs, cross_entropy, in_flight=6))
        network.set("train", in_flight="auto")
        wait_until(network, lambda: network.status().sentinels[0].window == 1)
        assert network.status().sentinels[0].reason == "it begins with 1"
        network.set("train", in_flight=3)
        wait_until(network, lambda: network.status().sentinels[0].window == 3)
        assert network.status().sentinels[0].reason == ""


@pytest.mark.parametrize("given", ["auto", "many"])
def test_only_training_can_find_it_out(given: Any) -> None:
    with pytest.raises(ak.WiringError, match=f"in_flight must be a whole number, not '{given}'"):
        validation(in_flight=given)
    with ak.launch(gates(), engine=stepped()) as network:
        network.attach(validation(every=1.0))
        with pytest.raises(ak.WiringError, match=f"in_flight must be a whole number, at least 1, not '{given}'"):
            network.set("validation", in_flight=given)


def test_the_command_line_shows_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    found = Adjustment("train", 1, 2, "why")
    logger = logging.getLogger("akkordeon.network.watching")
    for as_json in (False, True):
        with Output(as_json=as_json).showing_logs():
            logger.info("%s", found, extra={"adjustment": found})
            logger.info("nobody needs to know")
    line, told = capsys.readouterr().out.splitlines()
    assert line == "train: in_flight 1 -> 2 (why)"
    assert json.loads(told) == {"event": "adjustment", "sentinel": "train", "before": 1, "window": 2, "reason": "why"}
