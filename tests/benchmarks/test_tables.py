"""From runs to tables."""

from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Any

import pytest
import torch
from torch import nn

import akkordeon as ak
from benchmarks.staleness import tasks
from benchmarks.staleness import trial as trial_module
from benchmarks.staleness.search import Best, Pool, tuned
from benchmarks.staleness.tables import closed, interval, table
from benchmarks.staleness.tasks import Batch, Stream, Task
from benchmarks.staleness.trial import Outcome, Trial, run


def best(*losses: float, lr: float = 0.1, held_out: float = 1.0) -> Best:
    outcomes = {
        seed: Outcome(loss, held_out, 0.5, (2.0, 0.0), 1.0, ((10, 2.0, 0.4), (20, held_out, 0.5)))
        for seed, loss in enumerate(losses)
    }
    return Best(lr, outcomes)


ARMS = {
    "synchronous": best(1.0, 1.1, 0.9),
    "uncompensated": best(2.0, 2.1, 1.9),
    "half": best(1.5, 1.6, 1.4),
    "lost": best(inf, 1.0, 1.0),
}


def test_the_share_of_the_gap_that_is_closed() -> None:
    assert closed(ARMS, "half") == "50%"
    assert closed(ARMS, "synchronous") == closed(ARMS, "uncompensated") == closed(ARMS, "lost") == ""


def test_a_gap_that_may_be_none_is_called_none() -> None:
    arms = {**ARMS, "uncompensated": best(1.1, 0.9, 1.2)}
    assert closed(arms, "half") == "no gap"
    assert closed({**ARMS, "uncompensated": best(inf, 1.0, 1.0)}, "half") == "uncompensated diverged"


def test_one_seed_has_no_interval_and_is_called_one_seed() -> None:
    arms = {"synchronous": best(1.0), "uncompensated": best(2.0), "half": best(1.5)}
    assert closed(arms, "half") == "50%, one seed"
    assert closed({**arms, "uncompensated": best(0.9)}, "half") == "no gap"


def test_a_table_names_what_diverged_and_how_soon_a_loss_was_reached() -> None:
    lines = list(table(ARMS, 20, None, points=20))
    assert lines[4].startswith("| half | 0.1 | 1.5000 ± 0.1000 | +0.5000 (+0.5000 … +0.5000) | 50% |")
    assert "| 1 of 3 diverged |" in lines[5]
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert "| 50.00% ± 0.00% | +0.00% (+0.00% … +0.00%) |" in lines[3]
    assert [line.split("|")[-3].strip() for line in lines[2:5]] == ["1.00"] * 3
    assert lines[2].endswith("| 2 0 |")


def test_an_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0, 4.0])
    assert (found.mean, found.low, found.high) == pytest.approx((2.5, 0.4457, 4.5543), abs=1e-3)
    assert interval([float(n) for n in range(21)]).high == pytest.approx(10 + 2.086 * 6.2048 / 21**0.5, abs=0.01)
    assert interval([1.0]).has_zero


def test_a_loss_is_reached_between_two_points() -> None:
    (outcome,) = best(1.0).outcomes.values()
    assert outcome.reached_loss(1.5) == 15
    assert outcome.reached_loss(0.5) == inf
    assert (outcome.reached(0.4), outcome.reached(0.9)) == (10, inf)


# Runs


def line_task() -> Task:
    def train(seed: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            x = torch.randn(16, 4, generator=generator)
            yield x, (x.sum(1) > 0).long()

    def some() -> list[Batch]:
        stream = train(99)
        return [next(stream) for _ in range(4)]

    return Task("line", lambda: [nn.Linear(4, 8), nn.Linear(8, 2)], train, some, some)


class Here(Pool):
    """Runs trials in this process."""

    def __init__(self) -> None:
        self.ran: list[Trial] = []

    def run(self, what: str, trials: Iterable[Trial]) -> dict[Trial, Outcome]:
        wanted = list(trials)
        self.ran += wanted
        return {trial: run(trial) for trial in wanted}


@pytest.fixture
def learn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trial]:
    monkeypatch.setitem(tasks.TASKS, "line", line_task())

    def trial(arm: str, lr: float = 0.03, **more: Any) -> Trial:
        return Trial("line", ("uniform", 3), "sgd 0.9", arm, lr, 0, 100, **more)

    return trial


def test_a_trial_trains_with_the_delay_that_it_names(learn: Callable[..., Trial]) -> None:
    late, synchronous = run(learn("uncompensated", points=5)), run(learn("synchronous"))
    assert late.staleness == (3.0, 3.0)
    assert synchronous.staleness == (0.0, 0.0)
    assert [update for update, _, _ in late.curve] == [20, 40, 60, 80, 100]
    assert 0 < synchronous.loss < 0.3
    assert synchronous.accuracy > 0.9
    assert run(learn("synchronous")).loss == synchronous.loss


def test_an_arm_finishes_synchronously(learn: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(trial_module, "_outcome", lambda reports, *_: counts.extend(_late(each) for each in reports))
    run(learn("linear, last tenth synchronous"))
    # The batches in flight at the end of the ninth epoch were forwarded before, and are the last that are late.
    assert all(counts[:9])
    assert counts[9] <= 4
    assert len(counts) == 10


def _late(report: ak.Report) -> int:
    return sum(number for staleness, number in report.staleness["0"].counts.items() if staleness)


def test_rates_are_tried_with_the_whole_schedule_in_short_runs(learn: Callable[..., Trial]) -> None:
    pool = Here()
    tuned(pool, "", [learn("uncompensated", warm_up=20)], seeds=1, factors=(0.5, 1.0), shorter=50)
    assert [(trial.updates, trial.warm_up) for trial in pool.ran] == [(50, 10), (50, 10), (100, 20)]


def test_a_trial_that_diverges_says_so(learn: Callable[..., Trial]) -> None:
    outcome = run(learn("uncompensated", lr=1e4))
    assert outcome.diverged
    assert outcome.held_out == inf


def test_each_arm_gets_the_rate_that_is_best_for_it(learn: Callable[..., Trial]) -> None:
    pool = Here()
    found = tuned(pool, "", [learn("uncompensated"), learn("momentum 0")], seeds=2, factors=(1e-4, 1.0, 1e5))
    assert {name: (each.lr, each.edge) for name, each in found.items()} == {
        "uncompensated": (0.03, False),
        "momentum 0": (pytest.approx(0.3), False),
    }
    assert {trial.seed for trial in pool.ran[:6]} == {1000}
    assert [(trial.arm, trial.seed, trial.final) for trial in pool.ran[6:]] == [
        (arm, seed, True) for arm in ("uncompensated", "momentum 0") for seed in (0, 1)
    ]


def test_a_stream_goes_on_where_it_stopped() -> None:
    batches = iter([(torch.tensor(n), torch.tensor(n)) for n in range(5)])
    stream = Stream(batches, 2)
    assert [int(x) for x, _ in stream] == [0, 1]
    assert [int(x) for x, _ in stream] == [2, 3]
    assert len(stream) == 2
