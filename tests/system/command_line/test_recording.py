"""`akkordeon run` keeps what happens: in a run folder, and in files for other tools."""

import csv
import json
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from akkordeon.views.reading import read_events
from tests.system.command_line.calling import RECIPE, call, write_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, RECIPE.replace("width: int = 8,", 'width: int = 8, api_key: str = "",'))


def test_a_run_folder_is_made_by_itself_and_says_how_to_repeat_the_run(recipe: Path, tmp_path: Path) -> None:
    runs = {"AKKORDEON_RUNS": str(tmp_path / "runs")}
    arguments = ("run", recipe, "--epochs", 2, "--seed", 7, "-o", "width=9", "-o", "api_key=4711")
    result = call(*arguments, environment=runs)
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"the run is kept in {folder}" in result.stdout
    about = json.loads((folder / "run.json").read_text())
    assert about["source"] == recipe.read_text()
    assert about["settings"] == {"width": "9", "api_key": "***"}
    assert (about["options"]["epochs"], about["options"]["seed"]) == (2, 7)
    assert "4711" not in (folder / "run.json").read_text()
    reports = [(each["sentinel"], each["epoch"]) for each in read_events(folder) if each["event"] == "report"]
    assert reports == [("train", 1), ("train", 2), ("validation", 1), ("test", 1)]


def test_two_runs_at_once_have_a_folder_each(recipe: Path, tmp_path: Path) -> None:
    runs = {"AKKORDEON_RUNS": str(tmp_path / "runs")}
    for _ in range(2):
        assert call("run", recipe, "--epochs", 1, environment=runs).exit_code == 0
    assert len([*(tmp_path / "runs").iterdir()]) == 2


def test_without_a_run_folder_nothing_is_written(recipe: Path, tmp_path: Path) -> None:
    result = call("run", recipe, "--epochs", 1, "--no-run", environment={"AKKORDEON_RUNS": str(tmp_path / "runs")})
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "runs").exists()
    assert "kept" not in result.stdout


def test_a_run_that_is_refused_leaves_no_folder(recipe: Path, tmp_path: Path) -> None:
    runs = {"AKKORDEON_RUNS": str(tmp_path / "runs")}
    assert call("run", recipe, "--weights", recipe, environment=runs).exit_code != 0
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_costs_a_warning(recipe: Path) -> None:
    result = call("run", recipe, "--epochs", 1, "--run", recipe / "folder")
    assert result.exit_code == 0, result.output
    assert f"warning: cannot keep this run in {recipe / 'folder'}" in result.stderr
    assert "the run is kept" not in result.stdout


def test_curves_and_numbers_are_written_where_options_say(recipe: Path, tmp_path: Path) -> None:
    result = call("run", recipe, "--epochs", 2, "--tensorboard", tmp_path / "tb", "--csv", tmp_path / "all.csv")
    assert result.exit_code == 0, result.output
    with (tmp_path / "all.csv").open(newline="") as file:
        losses = [float(each["value"]) for each in csv.DictReader(file) if each["series"] == "train/loss"]
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [each.value for each in events.Scalars("train/loss")] == pytest.approx(losses)
    assert len(losses) == 2


def test_what_is_not_installed_is_named_with_the_remedy(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    result = call("run", recipe, "--wandb", "mine")
    assert result.exit_code == 2
    assert "Weights & Biases is not installed; install it: pip install 'akkordeon[wandb]'" in result.stderr


def test_the_best_is_kept_and_can_be_tested(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    keep = ("--keep-best", "validation.loss", "--patience", 3)
    result = call("run", recipe, "--epochs", 2, "--run", folder, *keep)
    assert result.exit_code == 0, result.output
    assert "the best validation.loss was" in result.stdout
    assert f"is kept in {folder / 'best'}" in result.stdout
    assert call("test", recipe, "--resume", folder / "best").exit_code == 0


def test_patience_without_a_figure_and_a_best_without_a_folder_are_refused(recipe: Path) -> None:
    result = call("run", recipe, "--patience", 3)
    assert result.exit_code == 2
    assert "needs --keep-best" in result.stderr
    result = call("run", recipe, "--keep-best", "validation.loss", "--no-run")
    assert result.exit_code == 2
    assert "--no-run leaves that out" in result.stderr
    result = call("run", recipe, "--keep-best", "validation.acuracy")
    assert result.exit_code == 2
    assert "does not report 'acuracy'; it reports loss, accuracy" in result.stderr
