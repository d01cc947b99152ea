"""What a command shows: lines for people, or one JSON object per line for programs. Errors go to stderr."""

import dataclasses
import json
import logging
import math
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from akkordeon.cli.interrupt import Stop
from akkordeon.cli.options import Options
from akkordeon.cli.recipe import user_line
from akkordeon.errors import (
    AkkordeonError,
    CheckpointMismatch,
    NameTaken,
    RecipeError,
    TokenUnusable,
    Unreachable,
    WiringError,
)
from akkordeon.histogram import Histogram

if TYPE_CHECKING:
    from akkordeon.events import Adjustment, Report, Status
    from akkordeon.cli.live import View

__all__ = ["Output", "is_terminal", "told"]

YOURS = (RecipeError, WiringError, CheckpointMismatch, NameTaken, TokenUnusable, Unreachable)
"""Errors that show a wrong input: exit code 2 instead of 1."""


class Output:
    """Takes what a command has to say, and shows it in the way that was asked for.

    Args:
        as_json: objects instead of lines.
        live: a picture of the network below the lines; None is where stdout is a terminal.
    """

    def __init__(self, *, as_json: bool = False, live: bool | None = None) -> None:
        self._json = as_json
        self._live = is_terminal() if live is None else live
        self._view: View | None = None

    def say(self, line: str) -> None:
        """Show a line, to people alone."""
        if not self._json:
            self._line(line)

    def event(self, event: str, **values: object) -> None:
        """Tell programs of an event."""
        if self._json:
            typer.echo(json.dumps(_plain({"event": event, **values})))

    def report(self, report: "Report") -> None:
        """Show a report."""
        values = {
            each.name: getattr(report, each.name) for each in dataclasses.fields(report) if each.name != "outputs"
        }
        self.event("report", **values, samples_per_second=report.samples_per_second)
        self.say(str(report))

    def warn(self, line: str) -> None:
        """Show a line on stderr; above the picture where both are on the screen."""
        if self._view is not None and sys.stderr.isatty():
            self._view.print(line)
        else:
            typer.echo(line, err=True)

    @contextmanager
    def showing_logs(self) -> Iterator[None]:
        """Show what akkordeon logs as a warning, and what sentinels find out."""
        handler = _Logged(self)
        logger = logging.getLogger("akkordeon")
        level = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    def adjustment(self, adjustment: "Adjustment") -> None:
        """Show that a sentinel has found another window."""
        self.event("adjustment", **dataclasses.asdict(adjustment))
        self.say(str(adjustment))

    def show_warning(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object
    ) -> None:
        """Show a Python warning in one line; what `warnings.showwarning` is asked to do."""
        ours = Path(filename).is_relative_to(Path(__file__).parents[1])
        self.warn(
            f"warning: {message}" + ("" if ours else f" ({category.__name__}, {Path(filename).name}, line {lineno})")
        )

    def error(self, error: Exception) -> None:
        """Show an error: what it says and, where the user's own code raised it, that line."""
        self.event("error", type=type(error).__name__, message=str(error))
        line = user_line(error.__cause__) if error.__cause__ is not None else ""
        self.warn(f"error: {error}" + (f" ({line})" if line and line not in str(error) else ""))

    @contextmanager
    def watching(self, look: "Callable[[], Status]") -> Iterator[None]:
        """Show, beside the lines, how a network stands."""
        self._view = None if self._json else self._new_view(look)
        try:
            if self._view is not None:
                self._view.start()
            yield
        finally:
            self.stop_watching()

    def stop_watching(self) -> None:
        """Show lines alone from now on."""
        view, self._view = self._view, None
        if view is not None:
            view.stop()

    def _new_view(self, look: "Callable[[], Status]") -> "View":
        from rich.console import Console  # noqa: PLC0415 - only where something is shown

        from akkordeon.cli.live import Lines, Picture  # noqa: PLC0415

        return Picture(look, Console(force_terminal=True), typer.echo) if self._live else Lines(look, typer.echo)

    def _line(self, line: str) -> None:
        view = self._view
        if view is None:
            typer.echo(line)
        else:
            view.print(line)


@contextmanager
def told(options: Options, live: bool | None = None) -> Iterator[Output]:  # noqa: FBT001 - as the option
    """Give a command its output; an error becomes one line and an exit code.

    Raises:
        typer.Exit: with 2 after a wrong input, 1 after another error, 130 or 143 after Ctrl-C or SIGTERM.
    """
    output = Output(as_json=options.json, live=live)
    try:
        with warnings.catch_warnings(), output.showing_logs():
            warnings.showwarning = output.show_warning  # type: ignore[assignment] # it is called by position
            yield output
    except Stop as stop:
        raise typer.Exit(stop.code) from None
    except SystemError as error:  # what native code, such as Ray's, makes of an exception that a signal has raised
        if not isinstance(error.__cause__, Stop):
            raise
        raise typer.Exit(error.__cause__.code) from None
    except (AkkordeonError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise  # nobody reads what is shown, as in `akkordeon run mnist | head -1`: typer ends quietly
        if options.debug:
            traceback.print_exception(error)
        output.error(error)
        raise typer.Exit(2 if isinstance(error, YOURS) else 1) from None


class _Logged(logging.Handler):
    """Shows log records as lines."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.INFO)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        if (adjustment := getattr(record, "adjustment", None)) is not None:
            self._output.adjustment(adjustment)
        elif record.levelno >= logging.WARNING:
            self._output.warn(f"{record.levelname.lower()}: {record.getMessage()}")


def is_terminal() -> bool:
    """Say whether somebody looks at stdout, and it can show a picture that changes in place."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")


def _plain(value: Any) -> Any:
    """Return what JSON knows; it has no NaN and no infinity."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case Histogram():
            return _plain(value.figures())
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case None | bool() | int() | float() | str():
            return value
    return str(value)
