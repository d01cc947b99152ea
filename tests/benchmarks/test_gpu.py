"""The benchmark of a GPU: that it runs, small and on the CPU; that it says so where there is no GPU."""

import json

import pytest
import torch

from benchmarks.gpu.run import GATES, SIZES, Memory, kept, main, measure, report
from tests.properties.numerics.loops import one_thread


def test_without_that_gpu_it_says_so_and_nothing_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--device", "cuda:99"])
    out = capsys.readouterr().out
    assert out.startswith("no cuda:99: torch ")
    assert out.endswith("GPUs; nothing was measured\n")


def test_its_arms_run_and_the_table_compares_them() -> None:
    arms = ["plain", "akkordeon, 2 in flight"]
    with one_thread():
        found = [{arm: json.loads(json.dumps(measure(f"cpu tiny {arm}"))) for arm in arms}]
    figures = found[0]["plain"]
    assert figures["seconds"] > 0
    assert figures["activations"] > 0
    head, line, *rows = report(found).splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| plain", "| akkordeon, 2 in flight"]
    assert all(row.count("|") == head.count("|") == line.count("|") for row in rows)
    assert "1.00 (1.00 - 1.00) | not counted" in rows[0]


def test_the_pieces_hold_the_weights_of_the_whole_model() -> None:
    size = SIZES["tiny"]
    pieces = size.pieces()
    assert len(pieces) == GATES
    assert kept(size, torch.device("cpu")).weights == sum(p.nbytes for piece in pieces for p in piece.parameters())


def test_the_memory_is_that_of_the_formula() -> None:
    memory = Memory(weights=400, activations=1000)
    assert memory.expected(None) == 400 + 800 + 400 + 1000
    assert [memory.expected(k) for k in (1, 2)] == [400 * 2 + 800 + 100 + 1000, 400 * 3 + 800 + 100 + 2000]
