"""The live picture in a pseudo-terminal, and plain lines everywhere else."""

import re
import signal
import sys
from pathlib import Path

import pytest

from akkordeon.cli.output import is_terminal
from tests.system.command_line.calling import call, running

HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
"""What hides the cursor, and what shows it again."""


def plain(text: str) -> list[str]:
    """Return what stays of a terminal's output, without colours and movements."""
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip("\r") for line in text.split("\n")]


def test_a_terminal_shows_a_picture_until_ctrl_c(recipe: Path) -> None:
    with running("run", recipe, "--epochs", 10**6, terminal=True) as run:
        run.wait_for("train       epoch    3  loss")
        run.wait_for("version")
        run.wait_for("█")
        run.signal(signal.SIGINT)
        assert run.end() == 130
    output = run.written["stdout"]
    lines = plain(output)
    assert any(re.match(r"gate +state +busy +queue +staleness +version +open", line) for line in lines)
    assert any(re.match(r"stem +[a-z ]+ +\d+% +\d+ +\d\.\d \(\d\|\d\|\d\) +\d+ +\d", line) for line in lines)
    assert any(re.search(r"train +epoch +\d+.* ━", line) for line in lines)
    assert any(re.search(r"train .*[▁▂▃▄▅▆▇█]{2,}", line) for line in lines)
    assert any(re.search(r"train +epoch +3  loss .* samples/s  staleness stem", line) for line in lines)
    after = output[output.index("stopping: waiting for the batches in flight") :]
    assert output.rindex(SHOWN) > output.rindex(HIDDEN)
    assert HIDDEN not in after
    assert re.search(r"trained for \d+\.\d s", after)


def test_plain_lines_can_be_asked_for_in_a_terminal(recipe: Path) -> None:
    with running("run", recipe, "--epochs", "1", "--plain", terminal=True) as run:
        assert run.end() == 0
    assert "\x1b" not in run.written["stdout"]
    assert "trained for" in run.written["stdout"]


@pytest.mark.parametrize(
    ("terminal", "environment", "expected"),
    [
        (True, {}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"CI": "true"}, False),
        (False, {}, False),
    ],
)
def test_a_picture_is_for_interactive_terminals(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], expected: bool
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert is_terminal() is expected


def test_a_picture_can_be_asked_for_where_there_is_no_terminal(recipe: Path) -> None:
    result = call("run", recipe, "--seconds", "1.2", "--live", environment={"TERM": "xterm"})
    assert result.exit_code == 0, result.output
    assert re.search(r"gate +state +busy", "\n".join(plain(result.stdout)))
    assert result.stdout.rindex("test        epoch") > result.stdout.rindex("trained for")


def test_a_reader_that_leaves_ends_a_run_quietly(recipe: Path) -> None:
    with running("run", recipe, "--epochs", 10**6) as run:
        run.wait_for("epoch    2")
        assert run.process.stdout is not None
        run.process.stdout.close()
        run.forget("stdout")
        assert run.end() == 1
    assert run.written["stderr"] == ""


def test_logged_warnings_are_shown(recipe: Path) -> None:
    text = recipe.read_text() + "\nimport logging\n"
    recipe.write_text(
        text.replace("    return list(zip", "    if split == 'test': x[5] = float('nan')\n    return list(zip")
        + "\ndef loss(output, target, plain=loss):\n"
        "    logging.getLogger('akkordeon.mine').warning('look at this')\n"
        "    return plain(output, target)\n"
    )
    result = call("run", recipe, "--epochs", "1")
    assert result.exit_code == 0
    assert "warning: look at this\n" in result.stderr


def test_a_python_warning_is_one_line(recipe: Path) -> None:
    with recipe.open("a") as file:
        file.write("\nimport warnings\nwarnings.simplefilter('default')\nwarnings.warn('old fashioned')\n")
    result = call("run", recipe, "--epochs", "1")
    assert result.exit_code == 0
    line = len(recipe.read_text().splitlines())
    assert result.stderr == f"warning: old fashioned (UserWarning, mine.py, line {line})\n"
