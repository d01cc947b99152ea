"""`akkordeon data`: fetches data sets before they are needed, for a machine without a network, say."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from akkordeon.cli import values
from akkordeon.cli.options import DATA, Command, argument
from akkordeon.cli.output import Output
from akkordeon.errors import RecipeError


class DataCommand(Command):
    """List, fetch and verify data sets.

    \b
    Examples:
      akkordeon data
      akkordeon data mnist
    """  # noqa: D301

    name: Annotated[str | None, argument("NAME", "Data set to fetch; lists them if omitted.")] = None
    folder: Annotated[Path | None, DATA("DIR", "Verify the data set in this folder.", parser=values.folder)] = None

    def run(self, output: Output) -> None:
        """List the data sets, or fetch one."""
        from akkordeon.datasets import DATASETS, fetch  # noqa: PLC0415 - imports torch

        if self.name is None:
            for name, description in DATASETS.items():
                output.tell(f"{name:<15} {description}", "dataset", name=name, description=description)
            return
        try:
            found = fetch(self.name, self.folder)
        except ValueError as error:
            raise RecipeError(str(error)) from None
        where = f"in {found.where}, from {found.source}" if found.where else f"comes with {found.source}"
        output.tell(f"{found.name}: {found.samples:,} {found.unit}, verified, {where}", "fetched", **asdict(found))
