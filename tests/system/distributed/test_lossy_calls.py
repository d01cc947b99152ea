"""Ray loses a tenth of all calls between actors, and a tenth of the answers: every batch ends, none counts twice."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.distributed.lossy import IN_FLIGHT, NUM

pytestmark = pytest.mark.timeout(240)

SOURCES = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def figures() -> Iterator[Any]:
    """What came of training on a cluster of its own, in a process of its own, with its own folder for Ray's files."""
    with tempfile.TemporaryDirectory(prefix="ak", dir="/tmp") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.system.distributed.lossy", "10", "10"],
            env=os.environ | {"TMPDIR": folder},
            cwd=SOURCES,
            stdout=subprocess.PIPE,
            check=True,
        )
        figures = json.loads(done.stdout)
        print(figures)
        yield figures


def test_calls_and_answers_were_lost(figures: Any) -> None:
    assert figures["injected"]["request"] > 10
    assert figures["injected"]["response"] > 10


def test_every_batch_ends(figures: Any) -> None:
    assert figures["done"] + len(figures["dropped"]) > NUM - IN_FLIGHT  # when last seen; it has left by itself since
    assert figures["open"] == [0, 0]
    assert figures["resent"] > 0


def test_no_batch_is_applied_twice_and_most_are_applied_once(figures: Any) -> None:
    for counts in figures["applied"]:
        assert set(counts) <= {"0", "1"}
        assert counts["1"] > NUM / 2  # three quarters, give or take


def test_a_lost_call_is_not_taken_for_a_death(figures: Any) -> None:
    assert figures["restarts"] == 0
