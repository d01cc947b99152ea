"""Saved networks: folders of safetensors files with a manifest in JSON, one version per save; open `write` or `read`.

    run/v000001/manifest.json               names, versions, settings, positions; size and SHA-256 of each file
    run/v000001/00-stem.safetensors         weights of the first gate, readable by any program
    run/v000001/00-stem.state.safetensors   tensors of its optimizer and its other state

A version is written aside, then renamed, so it is complete or missing. A reader verifies all files before it uses any
number, falls back on the previous version if one is damaged, and never unpickles anything.
"""

from pathlib import Path

from akkordeon.saving.layout import Saved, packages
from akkordeon.saving.reading import read, read_weights
from akkordeon.saving.writing import write, write_weights

__all__ = ["Saved", "export", "packages", "read", "read_weights", "write", "write_weights"]


def export(folder: Path, file: Path) -> None:
    """Write the weights of a saved network as one plain safetensors file.

    Raises:
        CheckpointDamaged: nothing is saved there, or it is damaged.
        SaveFailed: the file could not be written.
    """
    write_weights(read(folder).weights, file)
