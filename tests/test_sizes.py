"""Lines of code are counted without blank lines, comments and docstrings, and budgets fail by name."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "sizes.py"

MODULE = '''"""A module.

Its docstring is free.
"""

# A comment.
LIMIT = 3
"""A docstring of an attribute."""


def total(  # two lines
    values: list[int],
) -> int:
    """Return a sum.

    Long docstrings are free.
    """
    text = """two
    lines"""

    return sum(values) + len(text)
'''
CODE = 7
"""LIMIT, three lines of the signature, two of the string, and the return."""

SETTINGS = """
[tool.sizes]
package = "src/made"
file = {file}
function = {function}

[tool.sizes.budgets]
total = {total}
gate = {gate}
alone = 7
"""


def sizes(folder: Path, **settings: int) -> tuple[int, str, str]:
    package = folder / "src" / "made"
    (package / "gate" / "deep").mkdir(parents=True)
    for name in ("gate/actor.py", "gate/deep/inner.py", "alone.py"):
        (package / name).write_text(MODULE)
    known = {"file": 350, "function": 40, "total": 3 * CODE, "gate": 2 * CODE} | settings
    (folder / "pyproject.toml").write_text(SETTINGS.format(**known))
    done = subprocess.run([sys.executable, SCRIPT, "--root", folder], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_code_is_counted_by_package_and_passes_within_its_budgets(tmp_path: Path) -> None:
    code, out, errors = sizes(tmp_path)
    assert (code, errors) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    lines = len(MODULE.splitlines())
    assert rows["gate"] == ["2", str(2 * lines), str(2 * CODE), str(2 * CODE)]
    assert rows["alone"] == ["1", str(lines), str(CODE), str(CODE)]
    assert rows["total"] == ["3", str(3 * lines), str(3 * CODE), str(3 * CODE)]
    assert "longest function: gate/deep/inner.py:total, 4 lines" in out


def test_a_package_over_its_budget_fails_by_name(tmp_path: Path) -> None:
    code, _, errors = sizes(tmp_path, gate=2 * CODE - 1)
    assert code == 1
    assert "gate: 14 lines of code, budget 13" in errors
    assert "total" not in errors


def test_the_total_a_file_and_a_function_fail_by_name(tmp_path: Path) -> None:
    code, _, errors = sizes(tmp_path, total=20, file=20, function=3)
    assert code == 1
    assert "total: 21 lines of code, budget 20" in errors
    assert f"gate/deep/inner.py: {len(MODULE.splitlines())} lines, at most 20" in errors
    assert "gate/deep/inner.py:total: 4 lines, at most 3" in errors


def test_a_package_without_a_budget_fails_by_name(tmp_path: Path) -> None:
    (tmp_path / "src" / "made" / "new").mkdir(parents=True)
    (tmp_path / "src" / "made" / "new" / "module.py").write_text("x = 1\n")
    code, _, errors = sizes(tmp_path, total=100)
    assert code == 1
    assert "new: 1 lines of code, no budget" in errors
