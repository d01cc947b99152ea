"""How the command line speaks: help with its options in groups, and each refusal in one line."""

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from akkordeon.cli.options import GROUPS

__all__ = ["Command", "Commands"]

UsageError: Any = typer.BadParameter.__mro__[1]
"""What typer raises on a wrong option; newer versions bring their own, older ones use that of click."""


class Commands(TyperGroup):
    """Puts what is wrong with an option into one line, as all other errors are."""

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """Parse what stands before the command."""
        try:
            return super().make_context(*args, **settings)
        except UsageError as error:
            raise _refused(error) from None

    def invoke(self, ctx: Any) -> Any:
        """Parse the command's own options, and call it."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise _refused(error) from None


class Command(TyperCommand):
    """Shows its options in the groups that they were given."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section per group."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", *GROUPS)}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            title = "Arguments" if param.param_type_name == "argument" else "Others"
            if record is not None:
                sections.setdefault(getattr(param, "rich_help_panel", None) or title, []).append(record)
        for title, records in filter(lambda each: each[1], sections.items()):
            with formatter.section(title):
                formatter.write_dl(records)


def _refused(error: Any) -> Exception:
    message = error.format_message() + _given(error)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message, err=True)  # it is the help
    else:
        command = error.ctx.command_path if error.ctx is not None else "akkordeon"
        typer.echo(f"error: {message}{'' if message[-1] in '.?' else '.'} See {command} --help", err=True)
    return typer.Exit(error.exit_code)


def _given(error: Any) -> str:
    """Say which value was refused, where typer leaves that to whoever looked into it."""
    found: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    return f", and {found[0]['input']!r} is not" if found else ""
