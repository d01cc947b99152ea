"""The benchmark of a GPU: that it runs, small and on the CPU; that it says so where there is no GPU."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.numerics.loops import one_thread

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_without_that_gpu_it_says_so_and_nothing_has_failed() -> None:
    asked = [sys.executable, str(SCRIPT), "--device", "cuda:99"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("no GPU here: ")
    assert "cuda:99 is wanted; nothing was measured" in done.stdout


def test_its_arms_run_and_the_table_compares_them(gpu: dict[str, Any]) -> None:
    arms = ["plain", "akkordeon, 2 in flight"]
    with one_thread():
        found = [{arm: json.loads(json.dumps(gpu["measure"](f"cpu tiny {arm}"))) for arm in arms}]
    figures = found[0]["plain"]
    assert figures["seconds"] > 0
    assert figures["activations"] > 0
    head, line, *rows = gpu["report"](found).splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| plain", "| akkordeon, 2 in flight"]
    assert all(row.count("|") == head.count("|") == line.count("|") for row in rows)
    assert "1.00 (1.00 - 1.00) | not counted" in rows[0]


def test_the_pieces_hold_the_weights_of_the_whole_model(gpu: dict[str, Any]) -> None:
    size = gpu["SIZES"]["tiny"]
    pieces = size.pieces()
    assert len(pieces) == gpu["GATES"]
    assert gpu["kept"](size, torch.device("cpu")).weights == sum(
        p.nbytes for piece in pieces for p in piece.parameters()
    )


def test_the_memory_is_that_of_the_formula(gpu: dict[str, Any]) -> None:
    memory = gpu["Memory"](weights=400, activations=1000)
    assert memory.expected(None) == 400 + 800 + 400 + 1000
    assert [memory.expected(k) for k in (1, 2)] == [400 * 2 + 800 + 100 + 1000, 400 * 3 + 800 + 100 + 2000]
