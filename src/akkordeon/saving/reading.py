"""Reads saved networks; verifies all files before it uses any number."""

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from akkordeon.errors import CheckpointDamaged
from akkordeon.messages.states import GateState, Mark, Position
from akkordeon.saving.codec import decode
from akkordeon.saving.layout import FORMAT, MANIFEST, Saved, digest, reason, seal, versions

logger = logging.getLogger(__name__)


def read(folder: Path) -> Saved:
    """Return the newest undamaged version in a folder.

    Args:
        folder: of all versions, or of a single one.

    Raises:
        CheckpointDamaged: there is none; describes the damage of the newest.
    """
    candidates = [folder] if (folder / MANIFEST).exists() else list(versions(folder))
    damage: list[str] = []
    for path in candidates:
        try:
            saved = _read(path)
        except Exception as error:  # noqa: BLE001 - a file of unknown origin may raise anything
            damage.append(f"{path}: {reason(error)}")
            continue
        for each in damage:
            logger.warning("%s is used instead of a damaged version: %s", path, each)
        return saved
    if damage:
        raise CheckpointDamaged(f"what was saved is damaged: {damage[0]}. Name another folder, or begin anew")
    if not folder.exists():
        raise CheckpointDamaged(f"there is no folder {folder}; name one that a network was saved in")
    raise CheckpointDamaged(f"nothing has been saved in {folder}: it holds no version such as v000001/{MANIFEST}")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return weights by their names in the whole network, from a safetensors file or the folder of a saved network.

    Raises:
        CheckpointDamaged: there are none, or they are damaged; gives the reason.
    """
    if path.is_dir():
        return read(path).weights
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointDamaged(f"there is no file {path}; name a safetensors file, or a saved folder") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointDamaged(f"{path} is no valid safetensors file: {reason(error)}{_hint(path)}") from error


def _read(folder: Path) -> Saved:
    manifest = _manifest(folder)
    if manifest["format"] != FORMAT:
        raise ValueError(f"it has format {manifest['format']}, and this akkordeon reads {FORMAT}; install a newer one")
    files = manifest["files"]
    for name, wanted in files.items():
        _verify(folder, name, wanted)
    gates = tuple(_gate(folder, each, files) for each in manifest["gates"])
    if not gates:
        raise ValueError(f"{MANIFEST} lists no gate")
    sentinels = manifest["sentinels"]
    tensors = _verified(folder, sentinels["state"], files)
    positions = {name: _position(decode(value, tensors)) for name, value in sentinels["positions"].items()}
    return Saved(gates, positions, manifest["packages"])


def _manifest(folder: Path) -> dict[str, Any]:
    with suppress(ValueError):  # neither text nor JSON
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and manifest.pop("sha256", None) == seal(manifest):
            return manifest
    raise ValueError(f"{MANIFEST} is not what was written")


def _gate(folder: Path, plain: dict[str, Any], files: dict[str, Any]) -> GateState:
    tensors = _verified(folder, plain["state"], files)
    rest = decode(plain["rest"], tensors)
    weights = _verified(folder, plain["weights"], files) | decode(plain.get("aside", {}), tensors)
    return GateState(plain["name"], plain["prefix"], plain["version"], weights, rest, plain["kinds"])


def _verified(folder: Path, name: str, files: dict[str, Any]) -> dict[str, Tensor]:
    if name not in files:
        raise ValueError(f"{name} is used, but {MANIFEST} lacks its SHA-256")
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
    if digest(path) != wanted["sha256"]:
        raise ValueError(f"{name} is not what was written: its SHA-256 differs")


def _hint(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        if file.read(2).startswith((b"PK", b"\x80")):
            return (
                ". It looks like a pickle, which can run any code and is never opened here; if you trust it, save its "
                "state dict with safetensors.torch.save_file"
            )
    return ""
