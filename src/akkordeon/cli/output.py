"""Shows what a command has to say: lines for people, or one JSON object per line. Errors go to stderr."""

import dataclasses
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from akkordeon.cli.interrupt import Interrupts, Stop
from akkordeon.cli.recipe import user_line
from akkordeon.errors import AkkordeonError, Unreachable
from akkordeon.messages.plain import fields_of, plain

if TYPE_CHECKING:
    from akkordeon.cli.live import Lines
    from akkordeon.messages.reports import Report, Status

YOURS = (ValueError, Unreachable)
"""Errors that show a wrong input: exit code 2 instead of 1. All our errors about values are `ValueError`."""


class Output:
    """Shows lines to people, or objects to programs.

    Args:
        as_json: show objects.

    Attributes:
        interrupts: of the command; entered by `akkordeon.cli.app`.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.interrupts = Interrupts()
        self._json = as_json
        self._view: Lines | None = None

    def say(self, line: str) -> None:
        """Show a line to people."""
        if not self._json:
            (self._view.print if self._view is not None else typer.echo)(line)

    def event(self, event: str, **values: object) -> None:
        """Show an event to programs."""
        if self._json:
            typer.echo(json.dumps(plain({"event": event, **values})))

    def tell(self, line: str, event: str, **values: object) -> None:
        """Show a line to people, or an event to programs."""
        self.event(event, **values)
        self.say(line)

    def report(self, report: "Report") -> None:
        """Show a report."""
        values = fields_of(report) | {"samples_per_second": report.samples_per_second}
        self.tell(str(report), "report", **values)

    def reports(self, reports: "Iterable[Report]") -> None:
        """Show reports as they come."""
        for report in reports:
            self.report(report)

    def saved(self, path: Path) -> None:
        """Say where a network was saved."""
        self.tell(f"saved to {path}", "saved", path=path)

    def exported(self, path: Path) -> None:
        """Say where weights were written."""
        self.tell(f"weights written to {path}", "exported", path=path)

    def warn(self, line: str) -> None:
        """Show a line on stderr; above the picture where both are on the screen."""
        if self._view is not None and sys.stderr is not None and sys.stderr.isatty():
            self._view.print(line)
        else:
            typer.echo(line, err=True)

    def error(self, error: Exception) -> None:
        """Show an error and, where the user's own code raised it, that line."""
        self.event("error", type=type(error).__name__, message=str(error))
        line = user_line(error.__cause__) if error.__cause__ is not None else ""
        self.warn(f"error: {error}" + (f" ({line})" if line and line not in str(error) else ""))

    def winding_down(self, what: str, finish: Callable[[], None]) -> AbstractContextManager[None]:
        """While entered, let the first signal call `finish` in another thread, and say that the work is ending."""

        def wind_down() -> None:
            self.stop_watching()
            self.warn(f"{what}: waiting for the batches in flight (Ctrl-C again exits at once)")
            try:
                finish()
            except AkkordeonError as error:
                self.error(error)

        return self.interrupts.gently(wind_down)

    @contextmanager
    def showing_logs(self) -> Iterator[None]:
        """Show the warnings that Python and akkordeon raise, and what sentinels find out about their window."""
        handler = _Handler(self)
        logger = logging.getLogger("akkordeon")
        level = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        try:
            with warnings.catch_warnings():
                warnings.showwarning = self._warned  # type: ignore[assignment] # called by position
                yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    def _warned(self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        ours = Path(filename).is_relative_to(Path(__file__).parents[1])
        where = "" if ours else f" ({category.__name__}, {Path(filename).name}, line {lineno})"
        self.warn(f"warning: {message}{where}")

    @contextmanager
    def watching(self, status: "Callable[[], Status]", *, live: bool | None = None) -> Iterator[None]:
        """Show the status of a network beside the lines.

        Args:
            status: asks the network.
            live: draw a picture; None where stdout is a terminal.
        """
        from akkordeon.cli.live import new_view  # noqa: PLC0415 - imports torch

        try:
            if not self._json:
                self._view = new_view(status, typer.echo, live=is_terminal() if live is None else live)
                self._view.start()
            yield
        finally:
            self.stop_watching()

    def stop_watching(self) -> None:
        """Show lines alone from now on."""
        view, self._view = self._view, None
        if view is not None:
            view.stop()


@contextmanager
def reporting(*, as_json: bool = False, debug: bool = False) -> Iterator[Output]:
    """Give a command its output; an error becomes one line and an exit code.

    Raises:
        typer.Exit: with 2 after a wrong input, 1 after another error, 130 or 143 after Ctrl-C or SIGTERM.
    """
    output = Output(as_json=as_json)
    try:
        with output.showing_logs():
            yield output
    except Stop as stop:
        raise typer.Exit(stop.code) from None
    except SystemError as error:  # native code, such as Ray's, wraps an exception that a signal handler raised
        if isinstance(error.__cause__, Stop):
            raise typer.Exit(error.__cause__.code) from None
        raise
    except BrokenPipeError:
        raise  # the reader has left, as in `akkordeon run mnist | head -1`: typer ends quietly
    except (AkkordeonError, OSError) as error:
        if debug:
            traceback.print_exception(error)
        output.error(error)
        raise typer.Exit(2 if isinstance(error, YOURS) else 1) from None


class _Handler(logging.Handler):
    """Shows log records as lines."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.INFO)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # actors log in their own threads: one must not fail since the reader has left
            if (adjustment := getattr(record, "adjustment", None)) is not None:
                self._output.tell(str(adjustment), "adjustment", **dataclasses.asdict(adjustment))
            elif record.levelno >= logging.WARNING:
                self._output.warn(f"{record.levelname.lower()}: {record.getMessage()}")


def is_terminal() -> bool:
    """Return whether stdout is a terminal that can show a picture that changes in place."""
    on_screen = sys.stdout is not None and sys.stdout.isatty()
    return on_screen and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
