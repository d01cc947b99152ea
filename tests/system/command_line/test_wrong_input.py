"""Whatever is wrong with what was typed, or with a recipe: one line that names it and says what to do."""

import sys
from pathlib import Path

import pytest

from tests.system.command_line.calling import RECIPE, call, write_recipe

TYPED = {
    "a recipe that does not exist": (
        ["run", "imagenet"],
        "no recipe 'imagenet'; built in: char-gpt, digits",
    ),
    "a recipe with a typing mistake": (["run", "mnits"], "did you mean mnist?"),
    "a file that does not exist": (["run", "nosuch.py"], "no such file: nosuch.py; name the Python file"),
    "a path that does not exist": (["run", "./nosuch"], "no such file: ./nosuch; name the Python file"),
    "a folder as a recipe": (["run", "."], ". is not a recipe: a recipe is a Python file whose name ends in .py"),
    "no recipe": (["run"], "Missing argument 'RECIPE'. See akkordeon run --help"),
    "a command that does not exist": (["rnu"], "No such command 'rnu'. Did you mean 'run'? See akkordeon --help"),
    "an option that does not exist": (["run", "mine.py", "--momentum", "0.9"], "No such option: --momentum"),
    "an option without its value": (["run", "mine.py", "--epochs"], "'--epochs' requires an argument"),
    "nothing in flight": (
        ["run", "mine.py", "--in-flight", "0"],
        "'0' is neither a number of batches (at least 1) nor auto",
    ),
    "no epochs": (["run", "mine.py", "--epochs", "0"], "'--epochs': Input should be greater than or equal to 1"),
    "a number that is none": (["run", "mine.py", "--epochs", "many"], "'--epochs': Input should be a valid integer"),
    "validations too often": (
        ["run", "mine.py", "--validate-every", "0"],
        "'--validate-every': Input should be greater",
    ),
    "empty batches": (
        ["run", "mine.py", "--batch-size", "-1"],
        "'--batch-size': Input should be greater than or equal",
    ),
    "a learning rate below 0": (
        ["run", "mine.py", "--lr", "-0.1"],
        "'--lr': Input should be greater than or equal to 0",
    ),
    "a learning rate of NaN": (["run", "mine.py", "--lr", "nan"], "equal to 0, got 'nan'. See"),
    "a seed that is none": (["run", "mine.py", "--seed", "x"], "'--seed': Input should be a valid integer"),
    "no samples": (
        ["run", "mine.py", "--take", "0"],
        "'0' is neither a number of samples (1000) nor a range",
    ),
    "a range without samples": (["run", "mine.py", "--take", "9:5"], "'9:5' is neither"),
    "a share that is none": (["run", "mine.py", "--share", "4/3"], "invalid share '4/3'; the second of three disjoint"),
    "a goal that is none": (["run", "mine.py", "--until", "accuracy"], "invalid goal 'accuracy'; write accuracy=0.97"),
    "a goal without a number": (["run", "mine.py", "--until", "accuracy=high"], "invalid goal 'accuracy=high'"),
    "a goal that nobody reports": (
        ["run", "mine.py", "--until", "f1=1"],
        "does not report 'f1'; it reports loss, accuracy",
    ),
    "a setting that is no pair": (
        ["run", "mine.py", "-o", "width"],
        "invalid setting 'width': expected KEY=VALUE",
    ),
    "a setting that is not there": (
        ["run", "mine.py", "-o", "wdith=9"],
        "has no setting 'wdith'; did you mean 'width'?",
    ),
    "a setting of a wrong type": (
        ["run", "mine.py", "-o", "width=x"],
        "-o width=x: 'x' is not a whole number, as width",
    ),
    "a choice that is none": (["run", "mine.py", "-o", "kind=elu"], "'elu' is not relu or tanh, as kind must be"),
    "a setting that is not one": (
        ["run", "mine.py", "-o", "take=5"],
        "'take' is not a setting; it is set by --take",
    ),
    "a setting given twice": (["run", "mine.py", "--lr", "1", "-o", "lr=2"], "lr is given twice (also as --lr)"),
    "an option the recipe lacks": (
        ["run", "mine.py", "--data", "."],
        "--data: the recipe mine.py has no setting 'folder'",
    ),
    "a compensation that is none": (
        ["run", "mine.py", "--compensation", "x"],
        "no compensation 'x'; there are: none, del",
    ),
    "a data folder that is not there": (["run", "mnist", "--data", "no"], "'--data': no such file or folder: no"),
    "weights that are not there": (["run", "mine.py", "--weights", "no"], "'--weights': no such file: no; name one"),
    "nothing to resume": (
        ["run", "mine.py", "--resume", "no"],
        "'--resume': no such folder: no; name one that --save",
    ),
    "two beginnings": (["run", "mine.py", "--resume", ".", "--weights", "mine.py"], "leave one of the two out"),
    "saving to nowhere": (["run", "mine.py", "--save-every", "5"], "'--save-every': needs --save DIR"),
    "saving to a file": (["run", "mine.py", "--save", "mine.py"], "'--save': mine.py is a file; name a folder"),
    "exporting to a folder": (["run", "mine.py", "--export", "."], "'--export': . is a folder; name a file in it"),
    "exporting to no folder": (["run", "mine.py", "--export", "no/x"], "'--export': no such folder"),
    "testing nothing": (["test", "mine.py"], "name what to test: --resume DIR or --weights FILE"),
    "a data set that is none": (["data", "imagenet"], "there is no data set 'imagenet'. There are: "),
    "turning nothing into a file": (["export", "no", "x"], "'DIR': no such folder: no; name one that --save wrote"),
}

WRITTEN = {
    "not Python": (
        "loss = (",
        "cannot import mine.py: SyntaxError: '(' was never closed (mine.py, line 1: loss = ()",
    ),
    "raises": ("import torch\nx = 1 / 0", "ZeroDivisionError: division by zero (mine.py, line 2: x = 1 / 0)"),
    "needs what is not there": ("import no_such", "ModuleNotFoundError: No module named 'no_such' (mine.py, line 1"),
    "exits": ("raise SystemExit(3)", "cannot import mine.py: SystemExit: 3 (mine.py, line 1"),
    "empty": ("", "lacks gates, batches, loss: a recipe has gates(), batches(split, take), loss and metrics"),
    "gates that are none": (RECIPE + "\ngates = []", "lacks gates"),
    "no list of gates": (RECIPE + "\ndef gates(): return 7", "gates() must return a list of Gate, and returned 7"),
    "gates that raise": (
        RECIPE + "\ndef gates():\n  [][1]",
        "gates() raised IndexError: list index out of range (mine.py, l",
    ),
    "gates of one name": (RECIPE + "\ng = gates()[0]\ndef gates(): return [g, g]", "two gates are named 'stem'"),
    "gates that need more": (
        RECIPE + "\ndef gates(n): return []",
        "gates() requires 'n'; give -o n=...",
    ),
    "no gates": (RECIPE + "\ndef gates(): return []", "a network needs at least one gate, and the list is empty"),
    "batches that take nothing": (
        RECIPE + "\ndef batches(split): return []",
        "batches(split) must have the parameters split and take",
    ),
    "batches that raise": (
        RECIPE + "\ndef batches(split, take): {}[split]",
        "batches('train') raised KeyError: 'train' (m",
    ),
    "no way to type it": (
        RECIPE + "\ndef gates(width: list = ()): ...",
        "width is a list, which cannot be given on",
    ),
}


@pytest.mark.parametrize("what", TYPED)
def test_wrong_arguments_are_refused_in_one_line(what: str, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recipe.parent)
    arguments, expected = TYPED[what]
    refused(arguments, expected, recipe.parent)


@pytest.mark.parametrize("what", WRITTEN)
def test_a_wrong_recipe_is_refused_in_one_line(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, expected = WRITTEN[what]
    write_recipe(tmp_path, text)
    width = ["-o", "width=3"] if "given on" in expected else []
    refused(["run", "mine.py", "--epochs", "1", *width], expected, tmp_path)


def refused(arguments: list[str], expected: str, folder: Path) -> None:
    before = set(folder.iterdir())
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert result.stdout == ""
    assert {each for each in folder.iterdir() if each.name != "__pycache__"} == before


def test_a_failure_in_training_names_the_line_that_raised(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, RECIPE + "\ndef loss(output, target):\n    return output[9, 9]\n")
    result = call("run", recipe, "--epochs", "1")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: sentinel 'train': no loss for batch 0: IndexError: ")
    assert line.endswith(f"({recipe.name}, line {len(recipe.read_text().splitlines())}: return output[9, 9])")


def test_a_file_for_a_data_set_of_several_is_refused(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, RECIPE)
    result = call("run", "mnist", "--data", str(file))
    assert result.exit_code == 1
    assert f"there is no folder {file}; name the one that holds MNIST" in result.stderr


def test_a_failure_in_training_can_be_shown_with_its_traceback(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, RECIPE + "\ndef loss(output, target):\n    return output[9, 9]\n")
    result = call("run", recipe, "--epochs", "1", "--debug")
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "return output[9, 9]" in result.stderr


def test_a_recipe_imports_its_neighbours_and_may_share_a_modules_name(tmp_path: Path) -> None:
    write_recipe(tmp_path, "WIDTH = 3\n", "beside_it.py")
    named = write_recipe(tmp_path, RECIPE + "\nfrom beside_it import WIDTH\n", "json.py")
    result = call("run", named, "--epochs", "1")
    assert result.exit_code == 0, result.output
    assert sys.modules["json"].__file__ != str(named)
