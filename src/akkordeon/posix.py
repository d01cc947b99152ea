"""All that only POSIX systems offer, with what is done elsewhere. No other module may need one."""

import os
from pathlib import Path

__all__ = ["available_cores", "memory_bytes", "sync_folder"]


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


def sync_folder(folder: Path) -> None:
    """Make sure that names in a folder survive a loss of power; elsewhere the file system sees to that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
