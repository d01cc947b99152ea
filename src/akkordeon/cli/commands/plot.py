"""`akkordeon plot`: draws runs for a paper."""

from pathlib import Path
from typing import Annotated

import typer

from akkordeon.cli.options import FILES, Command
from akkordeon.cli.output import Output
from akkordeon.cli.values import new_file


class PlotCommand(Command):
    """Draw runs: curves, staleness, time.

    \b
    Examples:
      akkordeon plot runs/mnist-20261201-120000
      akkordeon plot runs/async runs/sync --out figures/loss.svg

    Several runs share the axes; each has a line style of its own. The name of the file says
    the format: svg, pdf or png.
    """  # noqa: D301

    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of the runs.")]
    out: Annotated[Path, FILES("FILE", "File to write.", parser=new_file)] = Path("run.svg")

    def run(self, output: Output) -> None:
        """Write the figure."""
        from akkordeon.views.plotting import plot, read_runs, save  # noqa: PLC0415 - takes long

        save(plot(read_runs(self.runs)), self.out)
        output.tell(f"written to {self.out}", "plotted", path=self.out)
