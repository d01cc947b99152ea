"""Streams that are closed, readers that leave, and recipes in files of all names."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from akkordeon.cli.recipe import load
from tests.system.command_line.calling import DRIVER, RECIPE, call, running, write_recipe

NAMES = ["exp.v2.py", "my model.py", "1-my-model.py", "2.5.py", "модель é.py", "__main__.py", "torch.py", "...py"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_may_have_any_name(name: str, tmp_path: Path) -> None:
    result = call("run", write_recipe(tmp_path, name=name), "--epochs", 1)
    assert result.exit_code == 0, result.output
    assert "trained for" in result.stdout


def test_recipes_of_similar_names_are_not_confused(tmp_path: Path) -> None:
    widths = {"exp.v2.py": 3, "exp_v2.py": 5, "exp.v2.1.py": 7}
    for name, width in widths.items():
        write_recipe(tmp_path, RECIPE.replace("width: int = 8", f"width: int = {width}"), name)
    for _ in range(2):
        for name, width in widths.items():
            stem, _head = load(str(tmp_path / name)).gates()
            assert next(stem.module.parameters()).shape[0] == width


def shell(line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Call the command line in a shell, which redirects its streams."""
    command = shlex.join([sys.executable, "-c", DRIVER, *map(str, arguments)])
    return subprocess.run(f"{command} {line}", shell=True, capture_output=True, text=True, timeout=50, check=False)  # noqa: S602


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_without_streams_a_run_trains_and_saves_in_silence(closed: str, recipe: Path, tmp_path: Path) -> None:
    done = shell(closed, "run", recipe, "--epochs", 1, "--save", tmp_path / "saved")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert any((tmp_path / "saved").rglob("*.safetensors"))


def test_without_stdout_an_error_is_still_shown() -> None:
    done = shell(">&-", "run", "nosuch")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no recipe 'nosuch'")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"], ["doctor", "--json"], ["data"]])
def test_a_reader_that_has_left_is_no_error_worth_a_word(words: list[str]) -> None:
    with running(*words) as process:
        assert process.process.stdout is not None
        process.process.stdout.close()
        process.forget("stdout")
        assert process.end() == 1
    assert process.written["stderr"] == ""


def test_a_run_into_head_shows_its_first_line(recipe: Path) -> None:
    done = shell("2>&1 | head -1", "run", recipe, "--epochs", 10**6)
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith("train       epoch    1")
    assert done.stderr == ""
