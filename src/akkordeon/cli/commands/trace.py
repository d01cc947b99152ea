"""`akkordeon trace`: makes a trace for Perfetto of a run."""

from pathlib import Path
from typing import Annotated

import typer

from akkordeon.cli.options import FILES, Command
from akkordeon.cli.output import Output
from akkordeon.cli.values import new_file


class TraceCommand(Command):
    """Make a trace for Perfetto of a run.

    \b
    Examples:
      akkordeon run mnist --trace 200 --run runs/mine
      akkordeon trace runs/mine
      akkordeon trace runs/mine --out mine.pftrace

    Open the file at https://ui.perfetto.dev: each gate and worker has a track, an arrow leads
    from the forward of a batch through all gates to its loss and back.
    """  # noqa: D301

    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.")]
    out: Annotated[Path, FILES("FILE", "File to write.", parser=new_file)] = Path("run.pftrace")

    def run(self, output: Output) -> None:
        """Write the trace."""
        from akkordeon.views.perfetto import make_trace  # noqa: PLC0415 - an extra
        from akkordeon.views.reading import read_events  # noqa: PLC0415 - likewise

        self.out.write_bytes(make_trace(read_events(self.run_folder)))
        output.tell(f"written to {self.out}", "traced", path=self.out)
