"""What a download shows while it lasts: on stderr, and only if that is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn


class Bar:
    """What pooch calls for each piece of a file that arrives."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=None)

    @property
    def total(self) -> float | None:
        """Bytes to come; None where the server does not say."""
        return self._progress.tasks[self._task].total

    @total.setter
    def total(self, num_bytes: int) -> None:
        self._progress.update(self._task, total=num_bytes or None)

    def update(self, num_bytes: int) -> None:
        """Show that so many bytes more are here."""
        self._progress.update(self._task, advance=num_bytes)

    def reset(self) -> None:
        """Show that none are here; pooch then tells the whole size, since its pieces do not add up to it."""
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Nothing: the bar ends with its block."""


@contextmanager
def download_bar(title: str) -> Iterator[Bar | bool]:
    """Show a bar while the block lasts; yields what pooch takes for `progressbar`, False if nobody would see it."""
    if not sys.stderr.isatty():
        yield False
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress, title)


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show a line that moves while the block lasts."""
    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(title):
        yield
