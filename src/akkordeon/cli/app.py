"""The commands: what each does, and how to call it."""

import os
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from akkordeon.cli.output import told
from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.help import Command, Commands
from akkordeon.cli.options import DataOptions, ExportOptions, Options, RunOptions, TestOptions, takes
from akkordeon.cli.recipe import find
from akkordeon.cli.terminals import add_terminals

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # boxes and colours would take longer than all else that help does
    pretty_exceptions_enable=False,  # a traceback is for whoever looks for a fault in akkordeon, and plain is best
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
      akkordeon run mnist                         train, validate on the way, test
      akkordeon run mine.py --save runs/mine      a recipe of your own
      akkordeon network mnist                     one that other terminals and machines join
      akkordeon doctor                            what there is on this machine

    See akkordeon run --help, above all.
    """  # noqa: D301 - \b keeps the lines as they are


@app.command(cls=Command)
@takes(RunOptions)
def run(options: RunOptions) -> None:
    """Train a recipe in this process; validate it on the way, and test it.

    \b
    Examples:
      akkordeon run mnist --in-flight 5 --epochs 3
      akkordeon run mnist --until accuracy=0.97 --save runs/mnist
      akkordeon run mnist --resume runs/mnist --save runs/mnist
      akkordeon run mine.py -o width=128 --lr 0.1 --seconds 60 --json

    A recipe is mnist, fashion-mnist, digits, char-gpt, or a Python file with
    gates(), batches(split, take), loss and metrics; the keyword arguments of its
    two functions are settings. Ctrl-C lets the batches in flight through, and saves.

    In a report, "staleness stem 3.2 (3|4|5)" says by how many updates the gradients of
    gate stem came late: on average, and in brackets p50, p95 and the most.
    """  # noqa: D301
    with told(options, options.live) as output, Interrupts() as interrupts:
        find(options.recipe)
        from akkordeon.cli.commands.run import run as run_recipe  # noqa: PLC0415 - imports torch

        raise typer.Exit(run_recipe(options, output, interrupts))


add_terminals(app)


@app.command(cls=Command)
@takes(TestOptions)
def test(options: TestOptions) -> None:
    """Test what was saved: one pass over the data of the test split.

    \b
    Examples:
      akkordeon test mnist --resume runs/mnist
      akkordeon test mine.py --weights model.safetensors --take 1000 --json
    """  # noqa: D301
    with told(options) as output, Interrupts() as interrupts:
        find(options.recipe)
        from akkordeon.cli.commands.test import evaluate  # noqa: PLC0415 - imports torch

        raise typer.Exit(evaluate(options, output, interrupts))


@app.command(cls=Command)
@takes(DataOptions)
def data(options: DataOptions) -> None:
    """Fetch a data set and verify it, or list those there are.

    \b
    Examples:
      akkordeon data
      akkordeon data mnist
    """  # noqa: D301
    with told(options) as output:
        from akkordeon.cli.commands.data import provide  # noqa: PLC0415 - imports torch

        provide(options, output)


@app.command(cls=Command)
@takes(ExportOptions)
def export(options: ExportOptions) -> None:
    """Turn what was saved into one plain file of weights.

    \b
    Examples:
      akkordeon export runs/mnist mnist.safetensors
      akkordeon export runs/mine /tmp/mine.safetensors
    """  # noqa: D301
    with told(options) as output:
        from akkordeon import checkpoint  # noqa: PLC0415 - imports torch

        checkpoint.export(options.folder, options.file)
        output.event("exported", path=options.file)
        output.say(f"weights written to {options.file}")




@app.command(cls=Command)
@takes(Options)
def doctor(options: Options) -> None:
    """Say what there is on this machine, and whether training can run.

    \b
    Examples:
      akkordeon doctor
      akkordeon doctor --json
    """  # noqa: D301
    with told(options) as output:
        from akkordeon.cli.commands.doctor import examine  # noqa: PLC0415 - imports torch

        raise typer.Exit(examine(output))


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="akkordeon")
    except SystemExit as end:
        if "ray" in sys.modules and isinstance(end.code, int):
            _leave(end.code)
        raise


def _leave(code: int) -> NoReturn:
    """End this process at once: taking a used Ray apart, as Python does at its end, may take a minute."""
    with suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
