"""Print the pip option that gets a CPU build of torch, where there is no GPU and its index answers; else nothing.

The default build for Linux brings several gigabytes of CUDA along. Used by the Makefile, before anything is installed.
"""

import shutil
import sys
import urllib.request
from pathlib import Path

INDEX = "https://download.pytorch.org/whl/cpu"

PATIENCE = 3.0
"""Seconds that the index has to answer."""


def has_gpu() -> bool:
    """Whether a driver for a GPU is installed; other machines have use for the CPU build alone."""
    return shutil.which("nvidia-smi") is not None or Path("/dev/kfd").exists()


def answers(url: str) -> bool:
    """Whether a page can be had in time."""
    try:
        with urllib.request.urlopen(f"{url}/torch/", timeout=PATIENCE) as page:  # noqa: S310 - a constant
            return bool(page.status == 200)
    except OSError:
        return False


if __name__ == "__main__" and sys.platform == "linux" and not has_gpu() and answers(INDEX):
    print(f"--extra-index-url {INDEX}")
