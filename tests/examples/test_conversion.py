"""What the first page promises: seven lines turn a plain script into actors."""

import difflib
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

EXAMPLES = Path(__file__).parents[2] / "examples"
README = EXAMPLES.parent / "README.md"


def changes() -> list[str]:
    plain, actors = ((EXAMPLES / name).read_text().splitlines() for name in ("plain.py", "actors.py"))
    return [line for line in difflib.unified_diff(plain, actors, lineterm="", n=0) if line[:3] not in ("---", "+++")]


def test_seven_lines_turn_a_plain_script_into_actors() -> None:
    written = [line for line in changes() if line.startswith("+") and line.strip("+ ")]
    assert len(written) == 7


def test_the_first_page_shows_these_very_lines() -> None:
    page = README.read_text()
    for line in changes():
        if line[0] in "+-" and line.strip("+- "):
            assert line in page, line


@pytest.mark.parametrize("name", ["plain.py", "actors.py"])
def test_both_scripts_learn_the_digits(name: str, one_thread: None, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    *_, last = capsys.readouterr().out.splitlines()
    assert float(last.removeprefix("accuracy ")) > 0.9


def test_one_batch_in_flight_is_the_plain_loop_bit_for_bit(one_thread: None) -> None:
    plain, actors = (after_one_epoch((EXAMPLES / name).read_text()) for name in ("plain.py", "actors.py"))
    assert len(plain) == len(actors) == 10
    assert all(map(torch.equal, plain, actors))


def after_one_epoch(script: str) -> list[Tensor]:
    """Return the weights after one epoch of a script, with one batch in flight."""
    for often, once in (("range(15)", "range(1)"), ("epochs=15", "epochs=1"), ("in_flight=4", "in_flight=1")):
        script = script.replace(often, once)
    namespace: dict[str, Any] = {"__name__": "script"}
    exec(script, namespace)  # noqa: S102 - it is ours
    return list(namespace["model"].parameters())


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
