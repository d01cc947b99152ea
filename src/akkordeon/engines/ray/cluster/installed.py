"""Checks that Ray is installed in a version that works, without importing it, which takes a second."""

from importlib.metadata import PackageNotFoundError, version

from akkordeon.errors import NodeFailed

OLDEST = (2, 60)
"""Earlier versions always drain a node before it ends, and assume that a cluster has no token."""

TOO_NEW = (3, 0)
"""Settings and messages that we rely on may change there."""

REMEDY = 'run pip install "akkordeon[ray]"'


def check_ray() -> str:
    """Return the version of Ray that is installed.

    Raises:
        NodeFailed: Ray or a package beside it is missing, or the version does not work.
    """
    found = {name: _version(name) for name in ("ray", "h2", "psutil")}
    if missing := [name for name, is_there in found.items() if not is_there]:
        raise NodeFailed(f"networks on several machines need {' and '.join(missing)}, not installed here: {REMEDY}")
    text = found["ray"]
    if not OLDEST <= _numbers(text) < TOO_NEW:
        wanted = f"{OLDEST[0]}.{OLDEST[1]} or later, below {TOO_NEW[0]}"
        raise NodeFailed(f"Ray {text} is installed; networks on several machines need {wanted}: {REMEDY}")
    return text


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
