"""`akkordeon doctor`: what it finds, and when it warns."""

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.system.command_line.calling import call


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, not made yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "akkordeon"


def findings() -> dict[str, dict[str, Any]]:
    lines = call("doctor", "--json").stdout.splitlines()
    return {each["about"]: each for each in map(json.loads, lines)}


def test_a_working_machine_passes() -> None:
    result = call("doctor")
    assert result.exit_code == 0, result.output
    about = [line.split("  ")[0] for line in result.stdout.splitlines()]
    wanted = ["python", "akkordeon", "torch", "numpy", "typer", "rich", "safetensors", "pooch", "cores", "memory"]
    assert [
        each for each in [*wanted, "free disk", "data sets", "npm", "torch build", "training"] if each not in about
    ] == []
    assert "works: 8 batches through two gates" in result.stdout
    assert result.stderr == ""


def test_findings_are_objects_in_json() -> None:
    found = findings()
    assert found["torch"] == {"event": "finding", "about": "torch", "state": "ok", "found": metadata.version("torch")}
    assert found["training"]["state"] == "ok"


def test_data_sets_in_the_cache_are_named_and_nothing_is_made(cache: Path) -> None:
    assert findings()["data sets"]["found"].startswith("none yet")
    assert not cache.exists()
    (cache / "mnist").mkdir(parents=True)
    assert findings()["data sets"]["found"] == "mnist"


def test_a_cache_that_cannot_be_made_is_a_warning(cache: Path) -> None:
    cache.parent.rmdir()
    cache.parent.write_text("in the way")
    found = findings()["data sets"]
    assert found["state"] == "warning"
    assert "--data" in found["found"]


def test_an_old_package_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, torch="2.9.1+cpu")
    found = findings()["torch"]
    assert found["state"] == "warning"
    assert found["found"].startswith("2.9.1+cpu is older than 2.11")
    assert call("doctor").exit_code == 0


def test_a_missing_package_is_broken_if_needed_and_absent_if_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, numpy=None, transformers=None)
    found = findings()
    assert (found["numpy"]["state"], found["numpy"]["found"]) == ("broken", "not installed: pip install numpy")
    assert (found["transformers"]["state"], found["transformers"]["found"]) == (
        "absent",
        "not installed: pip install transformers",
    )
    assert call("doctor").exit_code == 1


def test_training_that_does_not_work_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.optim", None)
    result = call("doctor")
    assert result.exit_code == 1
    assert "training         BROKEN: ModuleNotFoundError" in result.stdout


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Let some packages be of another version, or not there."""
    real = metadata.version

    def version(name: str) -> str:
        if name not in versions:
            return real(name)
        if (pretended := versions[name]) is None:
            raise metadata.PackageNotFoundError(name)
        return pretended

    monkeypatch.setattr(metadata, "version", version)
