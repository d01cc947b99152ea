"""Formats help, with commands and options in groups, and shows each usage error in one line."""

import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from akkordeon.cli.options import GROUPS


class CommandGroup(TyperGroup):
    """Lists commands in panels, and shows usage errors like all other errors."""

    @override
    def main(self, *args: Any, **settings: Any) -> NoReturn:
        try:
            code = super().main(*args, **settings | {"standalone_mode": False})
        except typer.TyperException as error:
            code = _refused(error)
        sys.exit(code)

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, self.list_commands(ctx)))  # so that the summaries of all panels align
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            panels.setdefault(panel, []).append((name.ljust(width), command.get_short_help_str()))
        for title, commands in panels.items():
            with formatter.section(title):
                formatter.write_dl(commands)


class CommandHelp(TyperCommand):
    """Lists options in groups."""

    @override
    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", *GROUPS)}
        for param in self.get_params(ctx):
            group = "Arguments" if param.param_type_name == "argument" else GROUPS[-1]
            if (record := param.get_help_record(ctx)) is not None:
                groups[getattr(param, "rich_help_panel", None) or group].append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _refused(error: Any) -> int:
    message: str = error.format_message()
    if message.startswith("Usage: "):  # no arguments: the error is the help
        typer.echo(message, err=True)
    else:
        details: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
        if details:  # of pydantic, which converts values for typer
            message += f", got {details[0]['input']!r}"
        context = getattr(error, "ctx", None)
        command = "akkordeon" if context is None else context.command_path
        typer.echo(f"error: {message}{'' if message[-1] in '.?' else '.'} See {command} --help", err=True)
    return int(error.exit_code)
