"""Saved networks: a folder with one complete version per save, as safetensors files and a manifest in JSON.

    run/v000001/manifest.json               names, versions, settings, positions; size and SHA-256 of each file
    run/v000001/00-stem.safetensors         weights of the first gate, as any program reads them
    run/v000001/00-stem.state.safetensors   tensors of its optimizer and of all else that it keeps

A version is written aside, then renamed, so it is whole or not there. A reader verifies all of it before it takes a
single number from it, and falls back on the version before if it is damaged. Nothing is ever unpickled.
"""

from pathlib import Path

from akkordeon.saving.layout import Saved, packages
from akkordeon.saving.reading import read, read_weights
from akkordeon.saving.writing import write, write_weights

__all__ = ["Saved", "export", "packages", "read", "read_weights", "write", "write_weights"]


def export(folder: Path, file: Path) -> None:
    """Write the weights of a saved network as one plain safetensors file.

    Raises:
        CheckpointDamaged: there is nothing to read.
        SaveFailed: it could not be written.
    """
    write_weights(read(folder).weights, file)
