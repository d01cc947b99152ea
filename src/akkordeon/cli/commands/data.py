"""`akkordeon data`: data sets, fetched and verified before they are needed, as for a machine without a network."""

from dataclasses import asdict

from akkordeon.cli.output import Output
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
        return
    try:
        found = fetch(options.name, options.folder)
    except ValueError as error:
        raise RecipeError(str(error)) from None
    output.event("fetched", **asdict(found))
    where = f"in {found.where}, from {found.source}" if found.where else f"comes with {found.source}"
    output.say(f"{found.name}: {found.samples:,} {found.unit}, verified, {where}")
