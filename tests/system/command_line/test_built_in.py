"""Recipes and data sets that come with akkordeon, on made-up data."""

import json
from pathlib import Path

import pytest

from akkordeon import datasets
from akkordeon.cli.recipe import BUILT_IN, load
from akkordeon.datasets import images
from tests.datasets import made_up_mnist
from tests.datasets.made_up_mnist import file_set, write
from tests.system.command_line.calling import call

FILES = made_up_mnist.files()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of the format of MNIST that passes for it."""
    monkeypatch.setattr(images, "MNIST", file_set())
    return write(tmp_path / "mnist", FILES)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_recipe_loads_and_makes_gates(name: str) -> None:
    assert load(name).gates()


def test_mnist_learns_from_a_folder(folder: Path) -> None:
    options = ["--epochs", 12, "--batch-size", 10, "--in-flight", 2]
    result = call("run", "mnist", "--data", folder, *options, "--json")
    assert result.exit_code == 0, result.output
    *_, test, done = map(json.loads, result.stdout.splitlines())
    assert test["metrics"]["accuracy"] > 0.5
    assert done["event"] == "done"


def test_a_folder_without_the_data_is_named_with_what_is_missing(tmp_path: Path) -> None:
    result = call("run", "mnist", "--data", tmp_path)
    assert result.exit_code == 1
    assert f"error: {tmp_path} does not hold MNIST: train-images-idx3-ubyte is missing" in result.stderr


def test_data_sets_are_listed() -> None:
    result = call("data")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(datasets.DATASETS)


def test_a_data_set_is_verified_and_located(folder: Path) -> None:
    result = call("data", "mnist", "--folder", folder)
    assert result.exit_code == 0, result.output
    samples = made_up_mnist.TRAIN + made_up_mnist.TEST
    assert result.stdout == f"mnist: {samples} pictures, verified, in {folder}, from your folder\n"
    (fetched,) = map(json.loads, call("data", "mnist", "--folder", folder, "--json").stdout.splitlines())
    assert (fetched["event"], fetched["name"], fetched["where"]) == ("fetched", "mnist", str(folder))
