"""Writes a network aside, then renames it: a version is complete or missing."""

import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from safetensors.torch import save_file
from torch import Tensor

from akkordeon.errors import SaveFailed
from akkordeon.saving.codec import encode, fits_a_file
from akkordeon.saving.layout import FORMAT, MANIFEST, Saved, digest, reason, seal, sync_folder, versions

KEEP = 3
"""Number of versions kept in a folder."""

ABANDONED = 3600.0
"""Seconds after which an unfinished version counts as abandoned by its writer."""


def write(saved: Saved, folder: Path) -> Path:
    """Add a version to a folder, remove the oldest, and return the folder of the new one.

    Raises:
        SaveFailed: it could not be written; nothing of it remains, and earlier versions are unchanged.
    """
    temporary = folder / f"v.{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir(parents=True)
        _fill(temporary, saved)
        sync_folder(temporary)
        final = _rename(temporary, folder)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise SaveFailed(f"the network could not be saved in {folder}: {reason(error)}") from error
    with suppress(OSError):  # it is saved; tidying may fail
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
        aside = {name: each for name, each in gate.weights.items() if not fits_a_file(each)}
        plain["aside"] = encode(aside, tensors, f"{gate.name}.weights")
        readable = {name: each for name, each in gate.weights.items() if name not in aside}
        plain["weights"] = _keep(folder / f"{stem}.safetensors", readable, files)
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
    path.write_text(json.dumps(manifest | {"sha256": seal(manifest)}, indent=1), encoding="utf-8")
    _sync(path)


def _keep(path: Path, tensors: Mapping[str, Tensor], files: dict[str, Any]) -> str:
    """Write tensors to a file, and record its size and digest."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    _sync(path)
    files[path.name] = {"bytes": path.stat().st_size, "sha256": digest(path)}
    return path.name


def _rename(temporary: Path, folder: Path) -> Path:
    number = max((int(path.name[1:]) for path in versions(folder)), default=0) + 1
    while (final := folder / f"v{number:06d}").exists():
        number += 1
    os.rename(temporary, final)
    return final


def _tidy(folder: Path) -> None:
    """Remove versions that are too old, and unfinished ones whose writers died."""
    for path in list(versions(folder))[KEEP:]:
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("v.*.tmp"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            shutil.rmtree(path, ignore_errors=True)


def write_weights(weights: Mapping[str, Tensor], file: Path) -> None:
    """Write weights as one safetensors file, complete or not at all.

    Raises:
        SaveFailed: it could not be written; an earlier file is unchanged.
    """
    if unfit := [name for name, tensor in weights.items() if not fits_a_file(tensor)]:
        raise SaveFailed(f"{file} cannot hold {unfit[0]!r}, which is sparse or complex128; save in a folder instead")
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
        raise SaveFailed(f"the weights could not be written to {file}: {reason(error)}") from error


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
