"""Shows a network at work: a picture that changes in place, or plain lines where there is no terminal."""

import logging
import math
import re
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text
from typing_extensions import override

from akkordeon.cli.every import Every
from akkordeon.errors import AkkordeonError
from akkordeon.messages.plain import fields_of, plain
from akkordeon.messages.reports import SentinelStatus, Status
from akkordeon.views.diagnosis import Moment, Moments, computing, shares, state, words

logger = logging.getLogger(__name__)

Look = Callable[[], Status]
"""Asks a network for its status."""

REDRAW = 0.5
"""Seconds between two pictures."""

BLOCKS, SPARKS = "▁▂▃▄▅▆▇█", 8
"""What a sparkline is drawn with, and how many looks it shows."""

REMIND = 10.0
"""Seconds between two lines on a long epoch; shorter ones report often enough."""


class Lines:
    """Plain lines, for log files: beside those given, one on each long epoch every so often, from `start` to `stop`.

    Errors in it never reach training.

    Args:
        look: asks the network.
        write: takes a line.
        seconds: between two looks.
    """

    def __init__(self, look: Look, write: Callable[[str], None], *, seconds: float = REMIND) -> None:
        self._look = look
        self._write = write
        self._seconds = seconds
        self._story = Story()
        self._said: set[str] = set()
        self._every = Every(seconds, self._update, patience=1.0)

    def start(self) -> None:
        """Begin to look at the network."""
        self._every.__enter__()

    def print(self, line: str) -> None:
        """Show a line that stays."""
        self._write(line)

    def stop(self) -> None:
        """Look no more; lines may still come."""
        self._every.stop()

    def _update(self) -> None:
        try:
            status = self._look()
        except AkkordeonError:
            return  # too busy to answer, or closed by now
        try:
            if not self._every.over:
                self._story.see(status, time.monotonic())
                self._show(status)
        except Exception as error:  # noqa: BLE001 - showing must not end training, whatever fails
            logger.debug("cannot show the status: %r", error)
            self.stop()

    def _show(self, status: Status) -> None:
        for text in self._story.words:
            if (kind := re.sub(r"\d+", "", text)) not in self._said:  # once, however its figures change
                self._said.add(kind)
                self.print(f"! {text}")
        for sentinel in shown(status):
            if sentinel.seconds >= self._seconds and sentinel.batches:
                self.print(progress(sentinel))


class Picture(Lines):
    """Bars and a table that change in place, below the lines that stay. After an error in drawing, lines alone.

    Args:
        look: asks the network.
        console: of a terminal.
        write: takes a line once there is no picture any more.
    """

    def __init__(self, look: Look, console: Console, write: Callable[[str], None]) -> None:
        super().__init__(look, write, seconds=REDRAW)
        self._console = console
        # Where stderr is a terminal, other output there would tear the picture; it is shown above it instead.
        above = sys.stderr.isatty()
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=above
        )

    @override
    def start(self) -> None:
        self._live.start()
        super().start()

    @override
    def print(self, line: str) -> None:
        if self._live.is_started:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            super().print(line)

    @override
    def stop(self) -> None:
        super().stop()
        self._live.stop()

    @override
    def _show(self, status: Status) -> None:
        self._live.update(draw(status, self._story), refresh=True)


def new_view(look: Look, write: Callable[[str], None], *, live: bool) -> Lines:
    """Return a picture on stdout, or plain lines."""
    return Picture(look, Console(force_terminal=True), write) if live else Lines(look, write)


class Story:
    """What was seen of a network so far, as far as a picture needs it.

    Attributes:
        words: sentences on what is wrong.
        states: what each gate does, by name.
        busy: shares of the time in which each gate computed, by name.
        losses: of each sentinel, by name, one per look.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self.states: dict[str, str] = {}
        self.busy: dict[str, float] = {}
        self.losses: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=SPARKS))
        self._moments = Moments()

    def see(self, status: Status, now: float) -> None:
        """Take in how a network stands."""
        both = (status.gates, status.sentinels)
        gates, sentinels = ({each.name: plain(fields_of(each)) for each in records} for records in both)
        moment = Moment(now, gates, sentinels)
        before = self._moments.before(moment)
        self.words = words(before, moment)
        self.states = {name: state(name, before, moment) for name in gates}
        self.busy = {name: computing(shares(before.gates.get(name), line)) for name, line in gates.items()}
        for each in status.sentinels:
            losses = [loss for _, loss in each.losses] or [each.loss]
            if not math.isnan(mean := sum(losses) / len(losses)):
                self.losses[each.name].append(mean)
        self._moments.add(moment)


def draw(status: Status, story: Story) -> RenderableType:
    """Return a row per sentinel, the chain of gates, and what is wrong."""
    bars = Table.grid(padding=(0, 1))  # all in 80 columns
    for sentinel in shown(status):
        # Without a total, the bar pulses; a fixed time of the animation keeps it still between two looks.
        bar = ProgressBar(sentinel.length or None, sentinel.batches, width=4, animation_time=0.0)
        epoch, batch = _of(sentinel.epoch, sentinel.epochs), _of(sentinel.batches, sentinel.length)
        spark = Text(sparkline(story.losses[sentinel.name]), style="cyan")
        bars.add_row(Text(sentinel.name), f"epoch {epoch}", bar, batch, spark, *_figures(sentinel))
    figures = [Column(title, justify="right") for title in ("busy", "queue", "staleness", "version", "open")]
    table = Table("gate", "state", *figures, box=None, padding=(0, 2), pad_edge=False)
    for gate in status.gates:
        busy = f"{story.busy.get(gate.name, 0.0):.0%}"
        figures_of = (busy, str(gate.waiting), str(gate.staleness), str(gate.version), str(gate.open))
        table.add_row(Text(gate.name), story.states.get(gate.name, ""), *figures_of)
    wrong = [Text(f"! {each}", style="yellow") for each in story.words]
    return Group(*([bars] if bars.rows else []), table, *wrong)


def sparkline(values: Sequence[float]) -> str:
    """Draw values as blocks of text, from the least to the greatest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in values)


def shown(status: Status) -> Iterable[SentinelStatus]:
    """Return the sentinels to show: those that train or, if none does, those that measure."""
    training = [each for each in status.sentinels if each.kind == "train"]
    return training or status.sentinels


def progress(sentinel: SentinelStatus) -> str:
    """Return a line on the epoch under way, laid out as a report."""
    epoch, batch = _of(sentinel.epoch, sentinel.epochs), _of(sentinel.batches, sentinel.length)
    return "  ".join([f"{sentinel.name:<11} epoch {epoch:>4}", f"batch {batch}", *filter(None, _figures(sentinel))])


def time_left(sentinel: SentinelStatus) -> float | None:
    """Return the seconds until the last epoch ends, at the pace of this one; None if unknown."""
    if sentinel.epochs is None or not sentinel.length or not sentinel.batches:
        return None
    to_do = (sentinel.epochs - sentinel.epoch + 1) * sentinel.length - sentinel.batches
    return max(0, to_do) * sentinel.seconds / sentinel.batches


def clock(seconds: float) -> str:
    """Format a duration as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _of(done: int, total: int | None) -> str:
    return f"{done}" if total is None else f"{done}/{total}"


def _figures(sentinel: SentinelStatus) -> list[str]:
    left = time_left(sentinel)
    return [
        "" if math.isnan(sentinel.loss) else f"loss {sentinel.loss:.4f}",
        f"{sentinel.samples / sentinel.seconds:.0f} samples/s" if sentinel.seconds > 0 else "",
        "" if left is None else f"{clock(left)} left",
    ]
