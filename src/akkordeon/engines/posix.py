"""Calls that only POSIX systems offer, each with a substitute elsewhere. No other module may use them."""

import ctypes
import os
import sys

try:
    import fcntl
except ImportError:  # no POSIX
    fcntl = None  # type: ignore[assignment]

SET_PARENT_DEATH_SIGNAL = 1  # both from linux/prctl.h
SET_CHILD_SUBREAPER = 36


def available_cores() -> int:
    """Return how many cores this process may use; all of the machine's, where that cannot be asked."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> tuple[int, int] | None:
    """Return how much memory is free, and how much there is; None where that cannot be asked."""
    if not hasattr(os, "sysconf"):
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    return page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")


def user() -> int:
    """Return the number of the user whose rights this process has; 0 where users have none."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def lock(handle: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file, until the last process that has it open through this handle closes it or ends.

    Args:
        handle: of the file.
        shared: others may lock it in the same way; otherwise it is for one alone.
        wait: until it can be had.

    Returns:
        Whether it was had; always, if waited for.

    Raises:
        OSError: this system has no such locks.
    """
    if fcntl is None:
        raise OSError("locks of files need a POSIX system, such as Linux")
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def fork() -> int:
    """Go on as two processes: return 0 in the new one, and its number in the old."""
    return os.fork()


def end_with_parent(parent: int, signal: int) -> None:
    """Have this process get a signal when its parent ends, however that ends; at once, if it has. Only on Linux."""
    _control(SET_PARENT_DEATH_SIGNAL, signal)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal)


def adopt_orphans() -> None:
    """Become the parent of all that descends from this process, once its own parent ends. Only on Linux."""
    _control(SET_CHILD_SUBREAPER, 1)


def _control(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0)
