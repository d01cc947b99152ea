"""Saved networks: a folder with one complete version per save, as safetensors files and a manifest in JSON.

    run/v000001/manifest.json               names, versions, settings, positions; size and SHA-256 of each file
    run/v000001/00-stem.safetensors         weights of the first gate, as any program reads them
    run/v000001/00-stem.state.safetensors   tensors of its optimizer and of all else that it keeps

A version is written aside, then renamed, so it is whole or not there. A reader verifies all of it before it takes a
single number from it, and falls back on the version before if it is damaged. Nothing is ever unpickled.
"""

import hashlib
import json
import logging
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from akkordeon.codec import decode, encode
from akkordeon.errors import CheckpointDamaged, SaveFailed
from akkordeon.posix import sync_folder
from akkordeon.signals import GateState, Mark, Position

__all__ = ["Saved", "export", "packages", "read", "read_weights", "write", "write_weights"]

logger = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "manifest.json"

KEEP = 3
"""Versions that are kept in a folder."""

ABANDONED = 3600.0
"""Seconds after which an unfinished version is taken for left behind."""


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


# Writing


def write(saved: Saved, folder: Path) -> Path:
    """Add a version to a folder, and return where it is; the oldest ones go.

    Raises:
        SaveFailed: it could not be written, and nothing is left of it; earlier versions are as they were.
    """
    temporary = folder / f"v.{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir(parents=True)
        _fill(temporary, saved)
        sync_folder(temporary)
        final = _rename(temporary, folder)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise SaveFailed(f"the network could not be saved in {folder}: {_reason(error)}") from error
    with suppress(OSError):  # it is there; what comes now is for later
        sync_folder(folder)
        _tidy(folder)
    return final


def _fill(folder: Path, saved: Saved) -> None:
    files: dict[str, Any] = {}
    gates = []
    for number, gate in enumerate(saved.gates):
        stem = f"{number:02d}-{quote(gate.name, safe='')[:80]}"
        tensors: dict[str, Tensor] = {}
        rest = encode(gate.rest, tensors, gate.name)
        plain = {"name": gate.name, "prefix": gate.prefix, "version": gate.version, "kinds": gate.kinds, "rest": rest}
        plain["weights"] = _keep(folder / f"{stem}.safetensors", gate.weights, files)
        plain["state"] = _keep(folder / f"{stem}.state.safetensors", tensors, files)
        gates.append(plain)
    tensors = {}
    positions = {name: encode(asdict(position), tensors, name) for name, position in saved.positions.items()}
    manifest = {
        "format": FORMAT,
        "packages": dict(saved.packages),
        "gates": gates,
        "sentinels": {"positions": positions, "state": _keep(folder / "sentinels.safetensors", tensors, files)},
        "files": files,
    }
    path = folder / MANIFEST
    path.write_text(json.dumps(manifest | {"sha256": _seal(manifest)}, indent=1), encoding="utf-8")
    _sync(path)


def _keep(path: Path, tensors: Mapping[str, Tensor], files: dict[str, Any]) -> str:
    """Write tensors to a file, and note what it is."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    _sync(path)
    files[path.name] = {"bytes": path.stat().st_size, "sha256": _digest(path)}
    return path.name


def _rename(temporary: Path, folder: Path) -> Path:
    number = max((int(path.name[1:]) for path in _versions(folder)), default=0) + 1
    while True:
        final = folder / f"v{number:06d}"
        if not final.exists():
            os.rename(temporary, final)
            return final
        number += 1


def _tidy(folder: Path) -> None:
    """Remove versions that are too old, and what writers that died have left behind."""
    for path in list(_versions(folder))[KEEP:]:
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("v.*.tmp"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            shutil.rmtree(path, ignore_errors=True)


def write_weights(weights: Mapping[str, Tensor], file: Path) -> None:
    """Write weights as one safetensors file, whole or not at all.

    Raises:
        SaveFailed: it could not be written; what was there before is as it was.
    """
    temporary = file.with_name(f"{file.name}.{secrets.token_hex(4)}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary)
        _sync(temporary)
        os.replace(temporary, file)
        sync_folder(file.parent)
    except Exception as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise SaveFailed(f"the weights could not be written to {file}: {_reason(error)}") from error


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


# Reading


def read(folder: Path) -> Saved:
    """Return the newest version in a folder that is whole; or that of the folder, if it is a version itself.

    Raises:
        CheckpointDamaged: there is none; says what is wrong with the newest.
    """
    candidates = [folder] if (folder / MANIFEST).exists() else list(_versions(folder))
    damage: list[str] = []
    for path in candidates:
        try:
            saved = _read(path)
        except Exception as error:  # noqa: BLE001 - whoever wrote it may have written anything
            damage.append(f"{path}: {_reason(error)}")
            continue
        for each in damage:
            logger.warning("damaged, so %s is used instead: %s", path, each)
        return saved
    if damage:
        raise CheckpointDamaged(f"what was saved is damaged: {damage[0]}. Name another folder, or begin anew")
    if not folder.exists():
        raise CheckpointDamaged(f"there is no folder {folder}; name one that a network was saved in")
    raise CheckpointDamaged(f"nothing has been saved in {folder}: it holds no version such as v000001/{MANIFEST}")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return weights by their names in the whole network, from a safetensors file or the folder of a saved network.

    Raises:
        CheckpointDamaged: there are none; says why.
    """
    if path.is_dir():
        return read(path).weights
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointDamaged(f"there is no file {path}; name a safetensors file, or a saved folder") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointDamaged(
            f"{path} is no safetensors file that can be read: {_reason(error)}{_hint(path)}"
        ) from error


def export(folder: Path, file: Path) -> None:
    """Write the weights of a saved network as one plain safetensors file.

    Raises:
        CheckpointDamaged: there is nothing to read.
        SaveFailed: it could not be written.
    """
    write_weights(read(folder).weights, file)


def _read(folder: Path) -> Saved:
    manifest = _manifest(folder)
    if manifest["format"] != FORMAT:
        raise ValueError(
            f"it is of format {manifest['format']}, and this akkordeon reads {FORMAT}; install a newer one"
        )
    files = manifest["files"]
    for name, wanted in files.items():
        _verify(folder, name, wanted)
    gates = tuple(_gate(folder, each, files) for each in manifest["gates"])
    if not gates:
        raise ValueError(f"{MANIFEST} tells of no gate")
    sentinels = manifest["sentinels"]
    tensors = _verified(folder, sentinels["state"], files)
    positions = {name: _position(decode(value, tensors)) for name, value in sentinels["positions"].items()}
    return Saved(gates, positions, manifest["packages"])


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = isinstance(manifest, dict) and manifest.pop("sha256", None) == _seal(manifest)
    except ValueError:  # no text, or no JSON
        whole = False
    if not whole:
        raise ValueError(f"{MANIFEST} is not what was written")
    return manifest


def _gate(folder: Path, plain: dict[str, Any], files: dict[str, Any]) -> GateState:
    rest = decode(plain["rest"], _verified(folder, plain["state"], files))
    weights = _verified(folder, plain["weights"], files)
    return GateState(plain["name"], plain["prefix"], plain["version"], weights, rest, plain["kinds"])


def _verified(folder: Path, name: str, files: dict[str, Any]) -> dict[str, Tensor]:
    if name not in files:
        raise ValueError(f"{name} is used, and its SHA-256 is not in {MANIFEST}")
    return load_file(folder / name)


def _position(plain: dict[str, Any]) -> Position:
    return Position(plain["epoch"], plain["index"], Mark(**plain["mark"]), plain["figures"])


def _verify(folder: Path, name: str, wanted: dict[str, Any]) -> None:
    path = folder / name
    if name != Path(name).name or path.is_symlink():
        raise ValueError(f"{name!r} is not a file of its own in this folder")
    if not path.exists():
        raise ValueError(f"{name} is missing")
    if path.stat().st_size != wanted["bytes"]:
        raise ValueError(f"{name} has {path.stat().st_size} bytes, and had {wanted['bytes']} when it was written")
    if _digest(path) != wanted["sha256"]:
        raise ValueError(f"{name} is not what was written: its SHA-256 differs")


def _versions(folder: Path) -> Iterator[Path]:
    """Yield the versions in a folder, the newest first."""
    found = [path for path in folder.glob("v*") if re.fullmatch("v[0-9]+", path.name) and path.is_dir()]
    yield from sorted(found, key=lambda path: int(path.name[1:]), reverse=True)


def packages() -> dict[str, str]:
    """Return the versions of Python and of the packages that what is saved hangs on."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("akkordeon", "torch", "numpy")}


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hint(path: Path) -> str:
    beginning = b""
    with suppress(OSError), path.open("rb") as file:
        beginning = file.read(2)
    if beginning[:2] == b"PK" or beginning[:1] == b"\x80":
        return (
            ". It looks like a pickle, which is never opened here, since opening one can run any code: where you trust "
            "it, write its state dict with safetensors.torch.save_file"
        )
    return ""
