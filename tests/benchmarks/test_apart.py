"""Arms in processes of their own."""

from pathlib import Path

import pytest

from akkordeon.bench.apart import of_the_median, rounds, run_apart

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
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def test_an_arm_gives_the_last_line_that_it_prints(script: Path) -> None:
    figures, foreign = run_apart(script, "one")
    assert figures["arm"] == "one"
    assert foreign < 1


def test_an_arm_that_fails_says_why(script: Path) -> None:
    with pytest.raises(RuntimeError, match=r"--arm 'broken' failed:\nno such thing"):
        run_apart(script, "broken")


def test_a_round_has_all_arms_in_processes_of_their_own_or_is_void(script: Path) -> None:
    said: list[str] = []
    counted = rounds(script, ["one", "two"], 1, said.append)
    assert len(said) in (1, 2, 3)
    assert len(counted) == sum("counts" in line for line in said)
    for each in counted:
        assert {arm: figures["arm"] for arm, figures in each.items()} == {"one": "one", "two": "two"}
        assert each["one"]["pid"] != each["two"]["pid"]


def test_the_interval_of_a_median_goes_by_ranks() -> None:
    assert of_the_median([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    # Of 25 values, ranks 8 and 18 enclose the median with 95.7 %: binomial tables.
    assert of_the_median([float(n) for n in range(1, 26)]) == (13.0, 8.0, 18.0)
