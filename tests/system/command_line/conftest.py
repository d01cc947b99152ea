"""A recipe that trains in no time."""

from pathlib import Path

import pytest

from tests.system.command_line.calling import write_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)
