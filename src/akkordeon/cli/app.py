"""The commands and their options."""

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")


@app.callback()
def describe() -> None:
    """Train one PyTorch network as a set of independent actors."""


@app.command()
def run(  # noqa: PLR0913 - each parameter is an option
    recipe: Annotated[str, typer.Argument(help="What to train: `mnist`.")],
    in_flight: Annotated[int, typer.Option(min=1, help="Batches out at once; 1 is synchronous training.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Passes through the training data.")] = 10,
    validate_every: Annotated[float, typer.Option(min=0.1, help="Seconds between two validations.")] = 2.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples per training batch.")] = 64,
    lr: Annotated[float, typer.Option(min=0.0, help="Learning rate of the first update; it falls linearly.")] = 0.05,
    take: Annotated[int | None, typer.Option(min=1, help="Use only the first so many training samples.")] = None,
    seed: Annotated[int, typer.Option(help="Of initial weights and shuffling.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder that holds the data set, if you have it.")] = None,
) -> None:
    """Train a recipe in this process: gates, a training and a validation sentinel, then one test.

    Example: `akkordeon run mnist --in-flight 5 --epochs 3`
    """
    from akkordeon.cli.run import Settings, run_recipe  # noqa: PLC0415 - imports torch

    settings = Settings(in_flight, epochs, validate_every, batch_size, lr, take, seed, data)
    raise typer.Exit(run_recipe(recipe, settings))


def main() -> None:
    """Run the command line; Ctrl-C exits with 130."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
