"""Registers the commands, and runs the one that was typed."""

import os
import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from akkordeon.cli.commands import (
    ask,
    data,
    doctor,
    export,
    host,
    keys,
    network,
    page,
    plot,
    run,
    sentinel,
    test,
    trace,
)
from akkordeon.cli.help import CommandGroup, CommandHelp
from akkordeon.cli.interrupt import leave
from akkordeon.cli.options import Command
from akkordeon.cli.output import reporting

HERE, SEVERAL, LOOK, MANAGE = "Train here", "Train on several machines", "Look", "Manage"
"""Panels of `akkordeon --help`."""


def execute(command: Command, **_: object) -> int:
    """Run a command and return the exit code."""
    with reporting(as_json=command.json, debug=command.debug) as output, output.interrupts:
        code = command.run(output)
    return output.interrupts.code or code or 0


app = typer.Typer(
    cls=CommandGroup,
    result_callback=execute,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # boxes and colours take longer than all else that help does
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - takes 20 ms, which help does without

        typer.echo(f"akkordeon {version('akkordeon')}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[  # noqa: FBT002 - as typer calls it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train one PyTorch network as a set of independent actors.

    \b
    Examples:
      akkordeon run mnist                      train, validate and test
      akkordeon run mine.py --save runs/mine   train a recipe of your own
      akkordeon network mnist                  open a network to other machines
      akkordeon doctor                         check this machine

    Start with akkordeon run --help.
    """  # noqa: D301 - \b keeps the lines as they are


def _add(name: str, command: type[Command], panel: str | None = None, to: typer.Typer = app) -> None:
    to.command(name, cls=CommandHelp, rich_help_panel=panel)(command)


def _add_group(name: str, about: str, commands: Mapping[str, type[Command]]) -> None:
    group = typer.Typer(cls=CommandGroup, no_args_is_help=True, rich_markup_mode=None, callback=lambda: None)
    for each, command in commands.items():
        _add(each, command, to=group)
    app.add_typer(group, name=name, help=about, rich_help_panel=SEVERAL)


_add("run", run.RunCommand, HERE)
_add("test", test.TestCommand, HERE)
_add("data", data.DataCommand, HERE)
_add("network", network.NetworkCommand, SEVERAL)
_add("host", host.HostCommand, SEVERAL)
_add("page", page.PageCommand, LOOK)
_add("plot", plot.PlotCommand, LOOK)
_add("trace", trace.TraceCommand, LOOK)
_add("watch", ask.WatchCommand, LOOK)
_add("status", ask.StatusCommand, LOOK)
_add("doctor", doctor.DoctorCommand, LOOK)
_add("detach", ask.DetachCommand, MANAGE)
_add("set", ask.SetCommand, MANAGE)
_add("save", ask.SaveCommand, MANAGE)
_add("close", ask.CloseCommand, MANAGE)
_add("export", export.ExportCommand, MANAGE)
_add_group("sentinel", sentinel.ABOUT, sentinel.KINDS)
_add_group("token", keys.TOKENS, {"new": keys.TokenCommand})
_add_group("tls", keys.CERTIFICATES, {"init": keys.TlsCommand})


def main() -> None:
    """Run the command line."""
    _open_streams()
    try:
        app(prog_name="akkordeon")
    except SystemExit as end:
        if "ray" in sys.modules and isinstance(end.code, int):
            leave(end.code)  # after Ray was used, the regular end of Python may take a minute
        raise


def _open_streams() -> None:
    """Open the null device in place of streams that are closed, as `>&-` or a service leaves them.

    Without that, `sys.stdout` is None, and the next file or socket opened becomes file 1, where native code writes.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if number == 0 else "w"))
