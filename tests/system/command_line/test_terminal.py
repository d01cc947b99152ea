"""What a status looks like in a terminal, and that whatever goes wrong there harms nobody."""

import io
import re
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from akkordeon.cli import live as terminal
from akkordeon.cli.live import Lines, Picture, Story, clock, draw, progress, sparkline, time_left
from akkordeon.errors import NoAnswer
from akkordeon.messages.histogram import Histogram
from akkordeon.messages.reports import Kind, SentinelStatus, Status
from akkordeon.messages.states import GateStatus


def sentinel(name: str = "train", kind: Kind = "train", epoch: int = 2, **figures: object) -> SentinelStatus:
    """Half way through the second of four epochs: 20 batches in 4 s."""
    known = {"epochs": 4, "batches": 20, "length": 40, "samples": 1280, "seconds": 4.0, "loss": 0.5}
    return SentinelStatus(name, kind, epoch, 5, 60, draining=False, **known | figures)  # type: ignore[arg-type]


def status(*sentinels: SentinelStatus) -> Status:
    gates = (
        GateStatus("stem", 1234, 3, Histogram({2: 3, 3: 7, 4: 1}), {}),
        GateStatus("head", 1233, 1, Histogram(), {}),
    )
    return Status("open", None, gates, sentinels)


def drawn(*sentinels: SentinelStatus) -> list[str]:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    console.print(draw(status(*sentinels), Story()))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_sentinel_is_a_bar_with_its_figures_and_a_gate_a_row() -> None:
    bar, title, stem, head = drawn(sentinel())
    assert re.fullmatch(r"train epoch 2/4 ━+[╸╺]?━* +20/40 +loss 0\.5000 320 samples/s 0:20 left", bar)
    assert title.split() == ["gate", "state", "busy", "queue", "staleness", "version", "open"]
    assert stem.split() == ["stem", "0%", "0", "2.8", "(3|4|4)", "1234", "3"]
    assert head.split() == ["head", "0%", "0", "0.0", "(0|0|0)", "1233", "1"]


def test_a_sparkline_goes_from_the_least_to_the_greatest() -> None:
    assert sparkline([1.0, 2.0, 3.0, 0.0]) == "▃▆█▁"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([]) == ""


def test_where_length_end_and_loss_are_not_known_they_are_left_out() -> None:
    unknown = sentinel(length=None, epochs=None, loss=float("nan"), batches=0, seconds=0.0, samples=0)
    assert re.fullmatch(r"train epoch 2 ━+ 0", drawn(unknown)[0])


def test_sentinels_that_measure_are_shown_once_none_trains() -> None:
    validation = sentinel("validation", "validate")
    assert [line.split()[0] for line in drawn(sentinel("a"), validation, sentinel("b"))] == [
        "a",
        "b",
        "gate",
        "stem",
        "head",
    ]
    assert drawn(validation)[0].startswith("validation")
    assert drawn()[0].startswith("gate")


def test_a_long_run_fits_a_narrow_terminal() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    long = sentinel("train-1", epochs=10, batches=400, length=938, samples=63888)
    story = Story()
    for number in range(20):
        story.see(status(replace(long, loss=float(number), done=number)), float(number))
    console.print(draw(status(long), story))
    assert isinstance(console.file, io.StringIO)
    bar, *rest = console.file.getvalue().splitlines()
    assert bar.rstrip().endswith("400/938 ▁▂▃▄▅▆▇█ loss 0.5000 15972 samples/s 1:20 left")
    assert len(rest) == 3


def test_a_name_is_shown_as_it_is_even_if_it_looks_like_markup() -> None:
    assert drawn(sentinel("[bold]"))[0].startswith("[bold] epoch")


def test_progress_is_a_line_in_the_manner_of_a_report() -> None:
    assert progress(sentinel()) == "train       epoch  2/4  batch 20/40  loss 0.5000  320 samples/s  0:20 left"


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({}, 20.0),  # 20 + 40 + 40 batches, 0.2 s each
        ({"epoch": 4, "batches": 40}, 0.0),
        ({"epoch": 4, "batches": 41}, 0.0),  # a loader that yields more than it said
        ({"batches": 0}, None),
        ({"epochs": None}, None),
        ({"length": None}, None),
    ],
)
def test_the_time_left_is_that_of_all_epochs_at_the_present_pace(
    figures: dict[str, int | None], expected: float | None
) -> None:
    assert time_left(sentinel(**figures)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (754, "12:34"), (3599.6, "1:00:00"), (3723, "1:02:03")]
)
def test_a_span_of_time_reads_as_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


# Views at work


class Seen:
    """What was written, and a way to wait for it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._came = threading.Condition()

    def write(self, line: str) -> None:
        with self._came:
            self.lines.append(line)
            self._came.notify_all()

    def wait_for(self, number: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.lines) >= number, 10)


def test_an_epoch_that_takes_its_time_gets_a_line_every_so_often() -> None:
    seen = Seen()
    short = sentinel("short", seconds=0.001)
    lines = Lines(lambda: status(short, sentinel()), seen.write, seconds=0.01)
    lines.start()
    seen.wait_for(2)
    lines.stop()
    lines.print("the end")
    assert {*seen.lines} == {progress(sentinel()), "the end"}
    assert seen.lines[-1] == "the end"


def looks(*answers: Callable[[], Status]) -> tuple[terminal.Look, threading.Event]:
    """Answer one after the other, and say when all have been asked for."""
    rest = iter(answers)
    over = threading.Event()

    def look() -> Status:
        answer = next(rest, None)
        if answer is None:
            over.set()
            return status(sentinel())
        return answer()

    return look, over


def fail() -> Status:
    raise NoAnswer("gate stem did not answer within 30 s")


def test_lines_survive_a_network_that_does_not_answer() -> None:
    seen = Seen()
    look, over = looks(fail, fail)
    lines = Lines(look, seen.write, seconds=0.01)
    lines.start()
    assert over.wait(10)
    seen.wait_for(1)
    lines.stop()


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=True)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_picture_survives_a_network_that_does_not_answer(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "REDRAW", 0.01)
    seen = Seen()
    look, over = looks(fail, fail, lambda: status(sentinel()))
    picture = Picture(look, console, seen.write)
    picture.start()
    picture.print("a [line] of its own")
    assert over.wait(10)
    picture.stop()
    picture.print("the end")
    assert "a [line] of its own" in written(console)
    assert "stem" in written(console)
    assert seen.lines == ["the end"]


def test_a_picture_that_cannot_be_drawn_makes_room_for_plain_lines(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "REDRAW", 0.01)
    broken = threading.Event()

    def break_down(status: Status, story: Story) -> None:
        broken.set()
        raise ZeroDivisionError

    monkeypatch.setattr(terminal, "draw", break_down)
    seen = Seen()
    picture = Picture(lambda: status(sentinel()), console, seen.write)
    picture.start()
    assert broken.wait(10)
    picture.stop()
    picture.print("a line")
    assert seen.lines == ["a line"]
    assert "\x1b[?25h" in written(console)  # the cursor is there again
