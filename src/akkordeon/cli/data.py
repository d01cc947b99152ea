"""`akkordeon data`: data sets, fetched and verified before they are needed, as for a machine without a network."""

from pathlib import Path

from akkordeon.cli.console import Output
from akkordeon.cli.options import DataOptions
from akkordeon.datasets import DATASETS, fetch
from akkordeon.errors import RecipeError

__all__ = ["provide"]


def provide(options: DataOptions, output: Output) -> None:
    """List the data sets, or fetch one and say where it is.

    Raises:
        AkkordeonError: there is no such data set, or it cannot be had.
    """
    if options.name is None:
        for name, description in DATASETS.items():
            output.event("dataset", name=name, description=description)
            output.say(f"{name:<15} {description}")
    elif options.name not in DATASETS:
        raise RecipeError(f"there is no data set {options.name!r}; there are: {', '.join(DATASETS)}")
    else:
        folder = Path(fetch(options.name, options.folder))
        output.event("fetched", name=options.name, folder=folder)
        output.say(f"{options.name}: verified, in {folder} ({DATASETS[options.name]})")
