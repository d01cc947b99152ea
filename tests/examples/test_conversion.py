"""What the first page promises: a plain script becomes actors by five lines."""

import difflib
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
README = EXAMPLES.parent / "README.md"


def run(name: str) -> float:
    """Return the accuracy that an example prints last."""
    done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    return float(last.removeprefix("accuracy "))


def changes() -> list[str]:
    plain, actors = ((EXAMPLES / name).read_text().splitlines() for name in ("plain.py", "actors.py"))
    return [line for line in difflib.unified_diff(plain, actors, lineterm="", n=0) if line[:3] not in ("---", "+++")]


def test_five_lines_turn_a_plain_script_into_actors() -> None:
    written = [line for line in changes() if line.startswith("+") and line.strip("+ ")]
    assert len(written) == 5


def test_the_first_page_shows_these_very_lines() -> None:
    page = README.read_text()
    for line in changes():
        if line[0] in "+-" and line.strip("+- "):
            assert line in page, line


def test_both_scripts_learn_the_digits() -> None:
    assert run("plain.py") > 0.9
    assert run("actors.py") > 0.9
