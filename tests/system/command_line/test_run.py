"""`akkordeon run` and `akkordeon test`: what they train, when they end, what they print and keep."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from akkordeon.gate.description import Gate
from akkordeon.messages import advice
from akkordeon.network.launching import launch
from tests.system.command_line.calling import RECIPE, call, lines_of, write_recipe

LINE = re.compile(
    r"(?P<sentinel>train(-\d)?|validation|test) +epoch +(?P<epoch>\d+)"
    r"  loss \d+\.\d{4}  accuracy [01]\.\d{4}   \d+\.\d\d s\b"
)


def events(*arguments: object) -> list[dict[str, Any]]:
    """Run with --json; every line of the output is an object."""
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line, parse_constant=pytest.fail) for line in result.stdout.splitlines()]


def reports(*arguments: object) -> list[dict[str, Any]]:
    return [each for each in events(*arguments) if each["event"] == "report"]


def test_a_run_prints_training_validation_and_test(recipe: Path) -> None:
    result = call("run", recipe, "--epochs", "2")
    assert result.exit_code == 0, result.output
    *lines, validation, test, kept = lines_of(result.stdout)
    trained = lines.pop()
    assert re.fullmatch(r"the run is kept in .*mine-\d{8}-\d{6}(-\d+)?", kept)
    assert [LINE.match(line)["epoch"] for line in lines] == ["1", "2"]  # type: ignore[index]
    assert re.search(r" samples/s  staleness stem \d\.\d \(\d\|\d\|\d\) head \d\.\d \(\d\|\d\|\d\)$", lines[0])
    assert re.fullmatch(r"trained for \d+\.\d s", trained)
    assert validation.startswith("validation  epoch    1")
    assert test.startswith("test        epoch    1")
    assert result.stderr == ""


def test_with_json_there_is_nothing_but_objects(recipe: Path, tmp_path: Path) -> None:
    seen = events("run", recipe, "--epochs", "1", "--save", tmp_path / "s", "--export", tmp_path / "e.safetensors")
    assert [each["event"] for each in seen] == ["report", "saved", "exported", "report", "report", "done"]
    first = seen[0]
    assert (first["sentinel"], first["kind"], first["epoch"], first["samples"]) == ("train", "train", 1, 200)
    assert first["samples_per_second"] > 0
    assert first["staleness"].keys() == {"stem", "head"}
    assert first["staleness"]["stem"].keys() == {"mean", "p50", "p95", "max", "counts"}
    assert sum(first["staleness"]["stem"]["counts"].values()) == 10
    assert "outputs" not in first
    assert seen[1]["path"].startswith(str(tmp_path / "s"))
    assert seen[-1]["seconds"] > 0


def test_the_last_line_names_gates_that_compute_too_little(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "BREAK_EVEN", 60.0)
    *others, last = lines_of(call("run", recipe, "--epochs", "12").stdout)
    assert last.startswith("to go faster, merge gates 'stem' and 'head' into one: they compute ")
    assert not any("merge" in line for line in others)
    done = events("run", recipe, "--epochs", "12")[-1]
    assert done["advice"].startswith("to go faster, merge gates 'stem' and 'head' into one")


def test_nan_is_null_in_json(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, RECIPE + "\nmetrics = {'nothing': lambda output, target: float('nan')}\n")
    assert {each["metrics"]["nothing"] for each in reports("run", recipe, "--epochs", "1")} == {None}


def test_with_json_an_error_is_an_object_too(recipe: Path) -> None:
    result = call("run", recipe, "-o", "wdith=3", "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)
    assert (error["event"], error["type"]) == ("error", "RecipeError")
    assert result.stderr == f"error: {error['message']}\n"


def test_synchronous_runs_of_one_seed_say_the_same(recipe: Path) -> None:
    def figures(seed: int) -> list[float]:
        return [each["loss"] for each in reports("run", recipe, "--in-flight", 1, "--epochs", 2, "--seed", seed)]

    first = figures(4)
    assert len(first) == 4
    assert figures(4) == first
    assert figures(5) != first


def test_max_staleness_0_is_a_synchronous_run(recipe: Path) -> None:
    def figures(*how: object) -> list[float]:
        return [each["loss"] for each in reports("run", recipe, *how, "--epochs", 2, "--seed", 4)]

    assert figures("--in-flight", 4, "--max-staleness", 0) == figures("--in-flight", 1)


def test_a_run_finishes_synchronously_where_that_is_asked_for(recipe: Path) -> None:
    seen = reports("run", recipe, "--epochs", 60, "--finish-synchronously", 40, "--batch-size", 5)
    late = {each["epoch"]: each["staleness"]["stem"]["max"] for each in seen if each["sentinel"] == "train"}
    assert max(late[epoch] for epoch in range(1, 21)) > 0
    assert {late[epoch] for epoch in range(50, 61)} == {0}
    (report, *_) = reports("run", recipe, "--epochs", 1, "--finish-synchronously", 2)
    assert report["staleness"]["stem"]["max"] == 0


@pytest.mark.parametrize("others", [("--seconds", 2), ("--sentinels", 2)])
def test_options_that_exclude_a_synchronous_finish_are_refused(recipe: Path, others: tuple[object, ...]) -> None:
    result = call("run", recipe, "--finish-synchronously", 2, *others)
    assert result.exit_code == 2
    assert "--finish-synchronously" in result.stderr


def test_a_run_finds_its_number_in_flight(recipe: Path) -> None:
    seen = events("run", recipe, "--in-flight", "auto", "--seconds", 3, "--batch-size", 5)
    training = [each for each in seen if each["event"] == "report" and each["sentinel"] == "train"]
    assert training[0]["staleness"]["stem"]["max"] == 0
    found = [each for each in seen if each["event"] == "adjustment"]
    assert all(each["reason"] and each["before"] != each["window"] for each in found)


def test_a_run_learns_until_a_goal_is_reached(recipe: Path) -> None:
    seen = events("run", recipe, "--epochs", 10**6, "--validate-every", 0.1, "--until", "accuracy=0.9")
    assert seen[-1]["reached"] is True
    test = seen[-2]
    assert test["sentinel"] == "test"
    assert test["metrics"]["accuracy"] > 0.85


def test_a_missed_goal_is_reported(recipe: Path) -> None:
    result = call("run", recipe, "--epochs", 1, "--until", "loss=0.0001")
    assert result.exit_code == 0
    assert "loss <= 0.0001 was not reached" in result.stdout


def test_a_run_ends_after_the_given_seconds(recipe: Path) -> None:
    seen = reports("run", recipe, "--seconds", 2)
    assert seen[-2]["sentinel"] == "validation"
    assert max(each["epoch"] for each in seen) > 10  # the default, had no seconds been given


def test_settings_reach_the_functions_that_have_them(recipe: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    options = ["--take", "10:60", "--batch-size", 7, "-o", f"notes={notes}", "-o", "width=3", "-o", "bias=no"]
    file = tmp_path / "e.safetensors"
    assert len(reports("run", recipe, "--epochs", 1, *options, "-o", "kind=tanh", "--export", file)) == 3
    assert set(notes.read_text().splitlines()) == {"train 50 7", "validate 200 7", "test 200 7"}
    assert {name: tuple(tensor.shape) for name, tensor in load_file(file).items()} == {
        "stem.0.weight": (3, 4),
        "head.weight": (2, 3),
        "head.bias": (2,),
    }


def test_a_learning_rate_reaches_the_gates(recipe: Path) -> None:
    first, second = reports("run", recipe, "--epochs", 1, "--lr", 0)[-2:]
    slow = reports("run", recipe, "--epochs", 2, "--lr", 0)[-2:]
    assert [first["loss"], second["loss"]] == [each["loss"] for each in slow]


def test_gates_that_ask_get_the_planned_number_of_updates(tmp_path: Path) -> None:
    asks = "\nmade = gates\ndef gates(updates: int = 0):\n    assert updates == 2 * 10 * 3\n    return made()\n"
    recipe = write_recipe(tmp_path, RECIPE + asks)
    assert reports("run", recipe, "--epochs", 3, "--sentinels", 2, "--batch-size", 10)


def test_a_recipe_may_say_how_it_is_best_trained(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, RECIPE + "\nEPOCHS, IN_FLIGHT = 3, 1\n")
    training = [each for each in reports("run", recipe) if each["sentinel"] == "train"]
    assert [each["epoch"] for each in training] == [1, 2, 3]
    assert {late["max"] for each in training for late in each["staleness"].values()} == {0}
    assert [each["epoch"] for each in reports("run", recipe, "--epochs", 1)] == [1, 1, 1]


def test_several_sentinels_train_on_disjoint_shares(recipe: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    seen = reports("run", recipe, "--epochs", 1, "--sentinels", 3, "--take", 100, "-o", f"notes={notes}")
    assert {each["sentinel"]: each["samples"] for each in seen if each["kind"] == "train"} == {
        "train-1": 34,
        "train-2": 33,
        "train-3": 33,
    }


@pytest.mark.parametrize(("name", "expected"), [("none", 0), ("delay", 1), ("delay-constant", 1)])
def test_a_compensation_is_that_of_all_gates(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: int
) -> None:
    seen: list[Gate] = []

    def watched(gates: list[Gate], **settings: Any) -> Any:
        seen.extend(gates)
        return launch(gates, **settings)

    monkeypatch.setattr(sys.modules[launch.__module__], "launch", watched)
    assert reports("run", recipe, "--epochs", 1, "--compensation", name)
    assert [len(gate.compensations) for gate in seen] == [expected, expected]


def test_a_run_on_one_worker_trains(recipe: Path) -> None:
    assert len(reports("run", recipe, "--epochs", 1, "--workers", 1)) == 3


def test_loaders_that_do_not_tell_their_length_and_generators_train(tmp_path: Path) -> None:
    yields = "\nall_of = batches\ndef batches(split, take):\n    yield from all_of(split, take)\n"
    seen = reports("run", write_recipe(tmp_path, RECIPE + yields), "--epochs", 2)
    assert [each["samples"] for each in seen] == [200] * 4


# What is kept


def test_what_was_saved_can_be_tested_resumed_and_exported(recipe: Path, tmp_path: Path) -> None:
    saved, exported, again = (tmp_path / name for name in ("saved", "exported.safetensors", "again.safetensors"))
    test = reports("run", recipe, "--epochs", 3, "--save", saved, "--export", exported)[-1]
    by_folder, by_file = reports("test", recipe, "--resume", saved), reports("test", recipe, "--weights", exported)
    assert [by_folder[0]["loss"], by_file[0]["loss"]] == [test["loss"], test["loss"]]
    assert call("export", saved, again).stdout == f"weights written to {again}\n"
    assert load_file(again).keys() == load_file(exported).keys()
    resumed = reports("run", recipe, "--epochs", 5, "--resume", saved)
    assert [report["epoch"] for report in resumed if report["kind"] == "train"] == [4, 5]


def test_a_test_may_take_a_part(recipe: Path, tmp_path: Path) -> None:
    file = tmp_path / "e.safetensors"
    call("run", recipe, "--epochs", 1, "--export", file)
    result = call("test", recipe, "--weights", file, "--take", 50, "--batch-size", 10)
    assert LINE.match(result.stdout)
    (report,) = reports("test", recipe, "--weights", file, "--take", "20:50", "--share", "1/3", "--batch-size", 10)
    assert report["samples"] == 10


def test_a_run_is_saved_every_so_often(recipe: Path, tmp_path: Path) -> None:
    seen = events("run", recipe, "--seconds", 1, "--save", tmp_path / "saved", "--save-every", 0.1)
    last_report = max(index for index, each in enumerate(seen) if each.get("sentinel") == "train")
    assert "saved" in [each["event"] for each in seen[:last_report]]


def test_a_failed_save_is_reported_and_training_goes_on(recipe: Path, tmp_path: Path) -> None:
    blocks = "\nimport pathlib\npathlib.Path('saved').write_text('in the way')\n"
    recipe = write_recipe(tmp_path, recipe.read_text() + blocks.replace("'saved'", repr(str(tmp_path / "saved"))))
    result = call("run", recipe, "--seconds", 0.6, "--save", tmp_path / "saved", "--save-every", 0.1)
    assert result.exit_code == 1
    warning, *_, error = result.stderr.splitlines()
    assert warning.startswith(f"warning: could not save to {tmp_path / 'saved'}: ")
    assert error.startswith("error: ")
    assert "trained for" in result.stdout
