"""What it takes to make hosts: root, and programs of the system."""

import os
import shutil

__all__ = ["LEAVE_OUT", "HostsUnavailable", "check", "program"]

PROGRAMS = {
    "ip": "iproute2",
    "ss": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "mount": "mount",
    "env": "coreutils",
}
"""By the package that has them in Debian."""

LEAVE_OUT = "set NO_NETNS=1 to leave out the tests that need several hosts"


class HostsUnavailable(RuntimeError):
    """This machine cannot make hosts; the message says why, and what to do."""


def check() -> None:
    """Check that hosts can be made.

    Raises:
        HostsUnavailable: if this user may not, or a program is missing.
    """
    if os.geteuid() != 0:
        raise HostsUnavailable(
            f"only root may make hosts out of namespaces, and this is user {os.geteuid()}: "
            f"run it as root, or {LEAVE_OUT}"
        )
    missing = [name for name in PROGRAMS if _find(name) is None]
    if missing:
        packages = " ".join(dict.fromkeys(PROGRAMS[name] for name in missing))
        raise HostsUnavailable(
            f"hosts are made with {', '.join(missing)}, which this machine does not have: "
            f"as root, apt-get install {packages}; or {LEAVE_OUT}"
        )


def program(name: str) -> str:
    """Return the path of a program, which must be there."""
    path = _find(name)
    assert path is not None
    return path


def _find(name: str) -> str | None:
    # Where only root looks, usually; but the path of who runs the tests may be a short one.
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
