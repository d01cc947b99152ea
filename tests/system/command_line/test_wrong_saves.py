"""Whatever is wrong with what was saved: one line that names it and says what to do, and nothing is written."""

import pickle  # noqa: TID251 - what must never be opened has to be made first
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.system.command_line.calling import RECIPE, call, write_recipe

Spoil = Callable[[Path], None]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    recipe = write_recipe(folder)
    result = call("run", recipe, "--epochs", 1, "--save", folder / "run", "--export", folder / "weights.safetensors")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def saved(once: Path, tmp_path: Path) -> Path:
    """A recipe, mine.py; what it saved, run/v000001; and its weights, weights.safetensors."""
    return shutil.copytree(once, tmp_path / "saved")


def flip(name: str, at: int) -> Spoil:
    def spoil(version: Path) -> None:
        content = bytearray((version / name).read_bytes())
        content[at] ^= 1
        (version / name).write_bytes(content)

    return spoil


def truncate(name: str, size: int) -> Spoil:
    def spoil(version: Path) -> None:
        (version / name).write_bytes((version / name).read_bytes()[:size])

    return spoil


def swap(version: Path) -> None:
    (version / "00-stem.safetensors").rename(version / "aside")
    (version / "01-head.safetensors").rename(version / "00-stem.safetensors")
    (version / "aside").rename(version / "01-head.safetensors")


def pickled(version: Path) -> None:
    (version / "00-stem.safetensors").write_bytes(pickle.dumps({"0.weight": 1}))


DAMAGE: dict[str, tuple[Spoil, str]] = {
    "a file cut short": (truncate("00-stem.safetensors", 100), "00-stem.safetensors has 100 bytes, and had"),
    "an empty file": (truncate("01-head.state.safetensors", 0), "01-head.state.safetensors has 0 bytes, and had"),
    "a flipped bit in weights": (flip("00-stem.safetensors", -1), "00-stem.safetensors is not what was written"),
    "a flipped bit in a header": (flip("00-stem.safetensors", 9), "00-stem.safetensors is not what was written"),
    "a missing file": (lambda version: (version / "01-head.safetensors").unlink(), "01-head.safetensors is missing"),
    "files of two gates swapped": (swap, "00-stem.safetensors"),
    "a pickle for weights": (pickled, "00-stem.safetensors has"),
    "a manifest cut short": (truncate("manifest.json", 200), "manifest.json"),
    "a changed manifest": (flip("manifest.json", 14), "manifest.json is not what was written"),
    "an empty manifest": (truncate("manifest.json", 0), "manifest.json"),
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("command", ["run", "test", "export"])
def test_a_damaged_save_is_refused(what: str, command: str, saved: Path) -> None:
    spoil, expected = DAMAGE[what]
    spoil(saved / "run" / "v000001")
    arguments = (
        [saved / "run", saved / "new"] if command == "export" else [saved / "mine.py", "--resume", saved / "run"]
    )
    line = refused([command, *arguments], saved, 1)
    assert expected in line
    assert "Name another folder, or begin anew" in line


OTHERS = {
    "no folder": (["--resume", "nosuch"], 2, "no such folder: nosuch; name one that --save wrote"),
    "an empty folder": (["--resume", "."], 1, "nothing has been saved in ."),
    "a file for a folder": (["--resume", "mine.py"], 2, "mine.py"),
    "no file of weights": (["--weights", "nosuch"], 2, "no such file: nosuch; name one that --export wrote"),
    "text for weights": (["--weights", "mine.py"], 1, "mine.py is no valid safetensors file"),
    "a pickle for weights": (["--weights", "weights.pt"], 1, "save its state dict with safetensors.torch.save_file"),
    "both": (
        ["--resume", "run", "--weights", "weights.safetensors"],
        2,
        "--resume restores weights too; leave one of the two out",
    ),
    "another rate": (["--resume", "run", "--lr", "1"], 2, "to start afresh from the saved weights, use --weights run"),
    "another width": (["--resume", "run", "-o", "width=9"], 2, "'stem.0.weight' is (8, 4), and gate 'stem' has (9, 4)"),
    "another batch size": (["--resume", "run", "--batch-size", "10"], 1, "and yielded 10 when it was saved"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_an_impossible_start_is_refused(what: str, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved)
    torch.save({"stem.0.weight": torch.zeros(8, 4)}, "weights.pt")
    options, code, expected = OTHERS[what]
    assert expected in refused(["run", "mine.py", "--epochs", "2", *options], saved, code)


def test_weights_of_another_network_are_refused_with_every_difference(saved: Path) -> None:
    deeper = RECIPE.replace('ak.Gate("head", nn.Linear(width, 2)', 'ak.Gate("neck", nn.Linear(width, 3)')
    line = refused(["run", write_recipe(saved, deeper), "--weights", saved / "weights.safetensors"], saved, 2)
    for difference in (
        "'neck.weight' of gate 'neck' is missing",
        "'neck.bias' of gate 'neck' is missing",
        "'head.weight' belongs to no gate",
        "'head.bias' belongs to no gate",
    ):
        assert difference in line


def test_a_damaged_newest_version_is_replaced_by_an_older_one_with_a_warning(saved: Path) -> None:
    shutil.copytree(saved / "run" / "v000001", saved / "run" / "v000002")
    truncate("manifest.json", 50)(saved / "run" / "v000002")
    result = call("test", saved / "mine.py", "--resume", saved / "run")
    assert result.exit_code == 0
    assert "v000002" in result.stderr
    assert "is used instead" in result.stderr


@pytest.mark.parametrize("option", ["--save", "--export"])
def test_an_unwritable_place_is_refused_before_training(option: str, saved: Path) -> None:
    line = refused(["run", saved / "mine.py", "--epochs", 1, option, "/proc/saved"], saved, 1)
    assert line.startswith(f"error: {option} /proc/saved: cannot write to /proc: ")
    assert line.endswith("name another folder")


def refused(arguments: list[object] | list[str], folder: Path, code: int) -> str:
    def listing() -> set[Path]:
        return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}

    before = listing()
    result = call(*arguments)
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "trained" not in result.stdout
    assert listing() == before
    return line
