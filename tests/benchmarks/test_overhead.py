"""Calls are counted per thread and part, and shown with and without figures of the clock."""

import threading
from typing import Any

import torch

from benchmarks.common.calls import Calls, Counter, counting
from benchmarks.overhead.arms import PARTS, Loss, part_of
from benchmarks.overhead.run import OF_A_GATE, beyond, changes, lines


def called() -> None:
    pass


def many() -> None:
    for _ in range(10):
        called()


def test_calls_of_each_thread_are_counted_apart() -> None:
    counter, found = Counter(), list[Calls]()

    def work() -> None:
        counter.take()  # those that began the thread
        many()
        found.append(counter.take())

    with counting(counter):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        counter.take()
        called()
        max(1, 2)
        own = counter.take()
    assert found == [Calls(11, 0)]
    assert own == Calls(1, 1)
    counter.take()
    called()
    assert counter.take() == Calls(0, 0)


def test_turns_and_computations_belong_to_parts() -> None:
    assert part_of("work", "gate body", "Backward") == "backward"
    assert part_of("turn", "gate body", "Backward then") == "update"
    assert part_of("turn", "gate body", "Lease") is None
    assert part_of("turn", "conductor", "Alive") is None
    assert part_of("turn", "sentinel train", "Forward") == "sentinel"


def test_a_loss_measures_from_one_batch_to_another() -> None:
    calls = list[str]()
    loss = Loss(1, 3, lambda: calls.append("begin"), lambda: calls.append("end"))
    for number in range(5):
        loss(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
        assert calls == ["begin", "end"][: (number > 0) + (number > 2)]
    assert loss.microseconds > 0


def figures(forward: float) -> dict[str, Any]:
    bare = {part: [10, 1] for part in PARTS}
    return {"calls": {"bare": bare, "ours": bare | {"forward": [forward, 5], "sentinel": [30, 1]}}}


def test_a_table_has_the_calls_beyond_the_bare_ones_and_the_clock_where_it_was_read() -> None:
    assert beyond(figures(15)) == Calls(25, 4)
    assert beyond(figures(15), OF_A_GATE) == Calls(5, 4)
    clock = {"pairs": [[100.0, 150.0], [101.0, 152.0], [100.0, 153.0]], "parts": figures(1)["calls"]}
    times = {side: dict.fromkeys(PARTS, 1.0) for side in ("bare", "ours")}
    counted, timed = lines({"64 1": figures(15)}), lines({"64 1": figures(15) | clock | {"parts": times}})
    assert "| 64 | 1 | 53 | 51 (50 - 53) | 100 | 3 | 25.0 | 5.0 | 4.0 | 4.0 |" in timed
    for table in (counted, timed):
        widths = [line.count("|") for line in table if line.startswith("|")]
        assert widths == [11] * 3 + [10] * (2 + len(PARTS))


def test_a_change_is_told_per_gate_and_batch() -> None:
    (told,) = changes({"64 1": figures(15)}, {"64 1": figures(18), "64 2": figures(1)})
    assert told == "batch 64, 1 workers: +3.0 Python calls and +0.0 C calls per gate and batch"
