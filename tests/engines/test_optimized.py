"""The contract of the engines holds under `python -O`, too, where no `assert` of the library says or does anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import limit

LIMIT = 240.0
"""Seconds for the suite: on Ray, two dozen processes begin."""

WITHOUT = ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST")
"""Variables of this test run, which the other one must not take for its own."""


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("engine", ["threads", "ray"])
def test_the_contract_holds_without_asserts(engine: str) -> None:
    """Those of the library, that is: pytest keeps its own in test modules."""
    variables = {key: value for key, value in os.environ.items() if key not in WITHOUT}
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore:assertions not in test modules:pytest.PytestConfigWarning"]
    command = [sys.executable, "-O", "-m", "pytest", *options, "-k", f"{engine} or asserts"]
    command += ["tests/engines/test_contract.py"]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env=variables,
        capture_output=True,
        text=True,
        timeout=limit(LIMIT),
        check=False,
    )
    assert done.returncode == 0, done.stdout
