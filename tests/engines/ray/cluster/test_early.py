"""Ray reads its settings when it is imported, so an engine that comes later says so instead of finding nobody."""

import os
import subprocess
import sys

EARLY = """
import ray
from akkordeon.engines import Ray
from akkordeon.errors import NodeFailed
try:
    Ray()
except NodeFailed as error:
    print(error)
"""


def test_a_ray_that_was_imported_before_is_refused() -> None:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", EARLY], env=plain, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("Ray was imported before this engine was made"), done.stderr
