"""The command `akkordeon run`: what it teaches, what it refuses, what it prints, and how it stops."""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from akkordeon.cli import app
from akkordeon.datasets import images
from tests.unit import made_up_mnist
from tests.unit.made_up_mnist import file_set, write

FILES = made_up_mnist.files()

OPTIONS = ["--in-flight", "--epochs", "--validate-every", "--batch-size", "--lr", "--take", "--seed", "--data"]

LINE = re.compile(
    r"(?P<sentinel>train|validation|test) +epoch +(?P<epoch>\d+)  loss \d+\.\d{4}  accuracy [01]\.\d{4}   \d+\.\d\d s\b"
)

DRIVER = """
import sys
from akkordeon.cli import main
from akkordeon.datasets import images
from akkordeon.datasets.sources import FileSet

images.MNIST = FileSet("mnist", "MNIST", dict(zip(sys.argv[1:8:2], sys.argv[2:9:2])), ())
sys.argv[1:9] = []
main()
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of the format of MNIST that passes for it."""
    monkeypatch.setattr(images, "MNIST", file_set())
    return write(tmp_path / "mnist", FILES)


# Help and refusals


def test_help_lists_the_commands() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert "actors" in result.output
    assert re.search(r"run .*Train a recipe", result.output)


def test_help_on_run_shows_every_option_and_an_example() -> None:
    result = call("run", "--help")
    assert result.exit_code == 0
    assert [option for option in OPTIONS if option not in result.output] == []
    assert "akkordeon run mnist --in-flight 5 --epochs 3" in result.output
    assert "1 is synchronous training" in result.output


def test_without_a_command_help_is_shown() -> None:
    assert "run" in call().output


def test_a_recipe_that_does_not_exist_is_refused_and_those_that_do_are_listed() -> None:
    result = call("run", "imagenet")
    assert result.exit_code == 2
    assert "there is no recipe 'imagenet'; there are: mnist" in result.stderr


def test_a_recipe_must_be_named() -> None:
    result = call("run")
    assert result.exit_code == 2
    assert re.search("Missing argument .*recipe", result.stderr, re.IGNORECASE)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--in-flight", "0"),
        ("--epochs", "0"),
        ("--epochs", "many"),
        ("--validate-every", "0"),
        ("--batch-size", "-1"),
        ("--lr", "-0.1"),
        ("--take", "0"),
        ("--seed", "x"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_option(option: str, value: str) -> None:
    result = call("run", "mnist", option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr


def test_an_option_that_does_not_exist_is_refused() -> None:
    result = call("run", "mnist", "--momentum", "0.9")
    assert result.exit_code == 2
    assert "No such option: --momentum" in result.stderr


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    result = call("run", "mnist", "--data", str(tmp_path / "nowhere"))
    assert result.exit_code == 1
    assert f"DataUnavailable: there is no folder {tmp_path / 'nowhere'}" in result.stderr


def test_a_folder_that_does_not_hold_the_data_is_named_with_what_is_missing(tmp_path: Path) -> None:
    result = call("run", "mnist", "--data", str(tmp_path))
    assert result.exit_code == 1
    assert f"{tmp_path} does not hold MNIST: train-images-idx3-ubyte is missing" in result.stderr


# A run


def test_a_run_prints_training_validation_and_test_and_exits_with_0(folder: Path) -> None:
    options = ["--in-flight", "5", "--epochs", "2", "--take", "200", "--batch-size", "20", "--seed", "1"]
    result = call("run", "mnist", "--data", str(folder), *options)
    assert result.exit_code == 0, result.output
    *lines, last = [LINE.match(line) for line in result.stdout.splitlines() if not line.startswith("trained for")]
    seen = [(line["sentinel"], line["epoch"]) for line in (*lines, last) if line is not None]
    assert [each for each in seen if each[0] == "train"] == [("train", "1"), ("train", "2")]
    assert seen[-2:] == [("validation", "1"), ("test", "1")]
    assert None not in lines
    assert re.search(
        r"^train .* samples/s  staleness stem \d\.\d body \d\.\d head \d\.\d$", result.stdout, re.MULTILINE
    )
    assert re.search(r"^trained for \d+\.\d s$", result.stdout, re.MULTILINE)
    assert result.stderr == ""


def test_a_run_learns(folder: Path) -> None:
    result = call("run", "mnist", "--data", str(folder), "--epochs", "12", "--batch-size", "10", "--in-flight", "2")
    assert result.exit_code == 0, result.output
    accuracy = re.search(r"^test .* accuracy (\d\.\d{4})", result.stdout, re.MULTILINE)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.5


def test_synchronous_runs_of_one_seed_say_the_same(folder: Path) -> None:
    def figures(seed: str) -> list[str]:
        options = ["--in-flight", "1", "--epochs", "2", "--batch-size", "20", "--seed", seed]
        output = call("run", "mnist", "--data", str(folder), *options).stdout
        return re.findall(r"^(?:train|test) .*accuracy \S+", output, re.MULTILINE)

    first = figures("4")
    assert len(first) == 3
    assert figures("4") == first
    assert figures("5") != first


# Ctrl-C, in a process of its own


@pytest.fixture
def running(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that would go on for hours, in a session of its own; whatever is left of it is ended."""
    pairs = [part for item in images.MNIST.digests.items() for part in item]
    options = ["run", "mnist", "--data", str(folder), "--epochs", "1000000", "--validate-every", "0.2"]
    command = [sys.executable, "-c", DRIVER, *pairs, *options]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    ) as process:
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def first_line(process: subprocess.Popen[str], *, seconds: float) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if ready else ""


def test_ctrl_c_lets_the_batches_in_flight_through_and_exits_with_130(running: subprocess.Popen[str]) -> None:
    assert LINE.match(first_line(running, seconds=30))
    running.send_signal(signal.SIGINT)
    stdout, stderr = running.communicate(timeout=10)
    assert running.returncode == 130
    assert stderr == "stopping: waiting for the batches in flight (Ctrl-C again leaves at once)\n"
    assert all(LINE.match(line) for line in stdout.splitlines())
    with pytest.raises(ProcessLookupError):  # nobody of its session is left
        os.killpg(running.pid, 0)
