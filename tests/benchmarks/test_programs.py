"""Every benchmark imports and explains itself."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks

FOLDER = Path(benchmarks.__file__).parent
CLAIMS = sorted(file.parent.name for file in FOLDER.glob("*/run.py"))
MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")
    if not info.name.endswith((".__main__", "watched_ray"))  # that one imports Ray, which later tests must set up first
)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_and_says_what_it_does(name: str) -> None:
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_benchmark_explains_itself(claim: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = importlib.import_module(f"benchmarks.{claim}.run")
    with pytest.raises(SystemExit) as end:
        run.main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m benchmarks.{claim} ")
    assert f"  python -m benchmarks.{claim}" in shown.partition("xamples:" if "xamples:" in shown else "xample:")[2]


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_folder_has_the_files_of_all_others(claim: str) -> None:
    names = {file.name for file in (FOLDER / claim).iterdir()}
    assert {"README.md", "__init__.py", "__main__.py", "run.py"} <= names
    readme = (FOLDER / claim / "README.md").read_text(encoding="utf-8")
    assert f"python -m benchmarks.{claim}" in readme
    assert ("table.md" in names) == ("[table.md](table.md)" in readme)


def test_the_timing_of_ray_imports() -> None:
    subprocess.run([sys.executable, "-c", "import benchmarks.prediction.watched_ray"], check=True)


def test_a_benchmark_runs_by_its_name() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.staleness", "--only", "r99"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no experiment 'r99'; choose from r1, r2" in done.stderr
