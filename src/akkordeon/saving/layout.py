"""The layout of a saved network on disk, shared by writer and reader."""

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from akkordeon.messages.states import GateState, Position

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Saved:
    """A saved network.

    Args:
        gates: in the order of the chain.
        positions: of training sentinels in their data, by name.
        packages: versions of Python and of the relevant packages, by name.
    """

    gates: tuple[GateState, ...]
    positions: Mapping[str, Position]
    packages: Mapping[str, str]

    @property
    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers by their names in the whole network."""
        return {gate.prefix + name: tensor for gate in self.gates for name, tensor in gate.weights.items()}


def packages() -> dict[str, str]:
    """Return the versions of Python and of the packages that a saved network depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("akkordeon", "torch", "numpy")}


def versions(folder: Path) -> Iterator[Path]:
    """Yield the versions in a folder, the newest first."""
    found = [path for path in folder.glob("v*") if re.fullmatch("v[0-9]+", path.name) and path.is_dir()]
    yield from sorted(found, key=lambda path: int(path.name[1:]), reverse=True)


def seal(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of the content of a manifest."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(error: Exception) -> str:
    """Return the text of an error, without the number and file name that `OSError` adds."""
    return getattr(error, "strerror", None) or str(error)


def sync_folder(folder: Path) -> None:
    """Make sure that names in a folder survive a loss of power; elsewhere the file system sees to that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
