"""The package runs where POSIX does not: only one module knows of it, and that one knows what to do elsewhere."""

import ast
import subprocess
import sys
from pathlib import Path

import akkordeon
from akkordeon.engines import posix

SOURCES = Path(akkordeon.__file__).parent

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}

FUNCTIONS = {
    "fork",
    "forkpty",
    "getuid",
    "geteuid",
    "killpg",
    "mkfifo",
    "nice",
    "sched_getaffinity",
    "setsid",
    "statvfs",
}

WITHOUT = f"""
import importlib, os, pkgutil, sys
import numpy, pooch, rich.live, rich.progress, safetensors.torch, torch, torch.optim, torch.utils.data, typer
import torch._dynamo  # which torch imports with the first optimizer
for name in {sorted(MODULES)}:
    sys.modules[name] = None
for name in {sorted(FUNCTIONS)}:
    if hasattr(os, name):
        delattr(os, name)
import akkordeon
for module in pkgutil.walk_packages(akkordeon.__path__, "akkordeon."):
    if not module.name.startswith("akkordeon.engines.ray"):  # Ray has neither, to do all that
        importlib.import_module(module.name)
from akkordeon.engines import Threads
Threads().close()
print("imported")
"""


def test_the_package_is_imported_and_starts_workers_without_any_posix_module() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout == "imported\n", done.stderr


def test_no_other_module_names_what_only_posix_has() -> None:
    found = []
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import():
                    used = {alias.name.split(".")[0] for alias in node.names} & MODULES
                case ast.ImportFrom(module=str(module)):
                    used = {module.split(".")[0]} & MODULES
                case ast.Attribute(value=ast.Name("os"), attr=name):
                    used = {name} & FUNCTIONS
                case _:
                    continue
            found += [f"{path.name}: {name}" for name in used if path.name != "posix.py"]
    assert not found


def test_the_cores_are_at_least_one() -> None:
    assert posix.available_cores() >= 1
