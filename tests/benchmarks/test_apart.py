"""Arms in processes of their own."""

import os
from pathlib import Path

import pytest

from benchmarks.common.apart import busy_seconds, of_the_median, rounds, run_apart

SCRIPT = """
import argparse, json, os
parser = argparse.ArgumentParser()
parser.add_argument("--arm")
arm = parser.parse_args().arm
if arm == "broken":
    raise SystemExit("no such thing")
print("what else it says")
print(json.dumps({"arm": arm, "pid": os.getpid()}))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "made_up.py").write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return "made_up"


def test_an_arm_gives_the_last_line_that_it_prints(module: str) -> None:
    figures, foreign = run_apart(module, "one")
    assert figures["arm"] == "one"
    assert foreign < 1


def test_an_arm_that_fails_says_why(module: str) -> None:
    with pytest.raises(RuntimeError, match=r"--arm 'broken' failed:\nno such thing"):
        run_apart(module, "broken")


def test_a_round_has_all_arms_in_processes_of_their_own_or_is_void(module: str) -> None:
    said: list[str] = []
    counted = rounds(module, ["one", "two"], 1, said.append)
    assert len(said) in (1, 2, 3)
    assert len(counted) == sum("counts" in line for line in said)
    for each in counted:
        assert {arm: figures["arm"] for arm, figures in each.items()} == {"one": "one", "two": "two"}
        assert each["one"]["pid"] != each["two"]["pid"]


def test_the_interval_of_a_median_goes_by_ranks() -> None:
    assert of_the_median([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    # Of 25 values, ranks 8 and 18 enclose the median with 95.7 %: binomial tables.
    assert of_the_median([float(n) for n in range(1, 26)]) == (13.0, 8.0, 18.0)


def test_all_processes_took_as_long_as_this_one_at_least() -> None:
    before, own = busy_seconds(), sum(os.times()[:2])
    while sum(os.times()[:2]) < own + 0.2:
        pass
    assert busy_seconds() - before > 0.15
