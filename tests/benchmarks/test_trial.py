"""Runs of the bench: what cannot be had is no divergence."""

from pathlib import Path

import pytest

from akkordeon.errors import DataUnavailable
from benchmarks.staleness import tasks
from benchmarks.staleness.arms import UNCOMPENSATED
from benchmarks.staleness.trial import Trial, run


def test_a_text_that_is_not_there_is_told_and_not_taken_for_divergence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "where", [tmp_path / "nowhere"])
    with pytest.raises(DataUnavailable, match=r"there is no folder .*nowhere"):
        run(Trial("text", ("1F1B", 8), "adam", UNCOMPENSATED, lr=1e-3, seed=0, updates=10))


def test_a_rate_that_is_far_too_high_is_divergence() -> None:
    outcome = run(Trial("mnist", ("uniform", 3), "sgd 0.9", UNCOMPENSATED, lr=1e4, seed=0, updates=100))
    assert outcome.diverged
