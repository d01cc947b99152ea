"""Progress of downloads, on stderr and only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, SpinnerColumn, TransferSpeedColumn


class Bar:
    """A bar with the four methods and attributes that pooch's downloader calls.

    Args:
        progress: draws the bar.
        title: stands before the bar.
    """

    total = 0
    """Size in bytes; 0 if the server does not send it. The downloader sets it."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=None)

    def update(self, num_bytes: int) -> None:
        """Advance the bar."""
        self._progress.update(self._task, advance=num_bytes, total=self.total or None)

    def reset(self) -> None:
        """Return to zero. Pooch resets the bar at the end, to add the true size: its chunks add up to more."""
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Do nothing: the bar ends with the `download_bar` block."""


@contextmanager
def download_bar(title: str) -> Iterator[Bar]:
    """Show a bar for the duration of the block."""
    with _display(BarColumn(), DownloadColumn(), TransferSpeedColumn()) as progress:
        yield Bar(progress, title)


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show a spinner for the duration of the block."""
    with _display(SpinnerColumn()) as progress:
        progress.add_task(title, total=None)
        yield


def _display(*columns: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    return Progress("{task.description}", *columns, console=console, transient=True, disable=not sys.stderr.isatty())
