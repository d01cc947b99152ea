"""How a saved network lies on disk; what writer and reader have in common."""

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from akkordeon.signals import GateState, Position

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Saved:
    """A network as it was saved.

    Args:
        gates: in the order of the chain.
        positions: where training sentinels stood in their data, by name.
        packages: versions of Python and of the packages that matter, by name.
    """

    gates: tuple[GateState, ...]
    positions: Mapping[str, Position]
    packages: Mapping[str, str]

    @property
    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers, by their names in the whole network."""
        return {gate.prefix + name: tensor for gate in self.gates for name, tensor in gate.weights.items()}


def packages() -> dict[str, str]:
    """Return the versions of Python and of the packages that what is saved hangs on."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("akkordeon", "torch", "numpy")}


def versions(folder: Path) -> Iterator[Path]:
    """Yield the versions in a folder, the newest first."""
    found = [path for path in folder.glob("v*") if re.fullmatch("v[0-9]+", path.name) and path.is_dir()]
    yield from sorted(found, key=lambda path: int(path.name[1:]), reverse=True)


def seal(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of all that a manifest says."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(error: Exception) -> str:
    """Say why something failed, without the numbers and names that `OSError` puts around it."""
    return getattr(error, "strerror", None) or str(error)
