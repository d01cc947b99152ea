"""`akkordeon export`: writes the weights of a save into one file."""

from pathlib import Path
from typing import Annotated

from akkordeon.cli.options import Command, argument
from akkordeon.cli.output import Output
from akkordeon.cli.values import new_file, saved_folder


class ExportCommand(Command):
    """Write saved weights to one safetensors file.

    \b
    Examples:
      akkordeon export runs/mnist mnist.safetensors
      akkordeon export runs/mine /tmp/mine.safetensors
    """  # noqa: D301

    folder: Annotated[Path, argument("DIR", "Folder that --save wrote.", parser=saved_folder)]
    file: Annotated[Path, argument("FILE", "File to write (safetensors).", parser=new_file)]

    def run(self, output: Output) -> None:
        """Write the file."""
        from akkordeon.saving import export  # noqa: PLC0415 - imports torch

        export(self.folder, self.file)
        output.exported(self.file)
