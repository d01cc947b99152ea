"""The folder of a node. Processes that hold it open use the node; the keeper ends the node when none does any more.

All users share the lock of its file `lock`, for as long as they live; the keeper waits for it to be free. The keeper
holds the lock of `keeper`. One user at a time holds that of `start`, to check that the node runs, and to start it if
not. A folder whose node has ended is moved away before it is removed: a process that opened it too late sees that
another folder, or none, has taken its place, and tries again.
"""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Self

from akkordeon.engines import posix
from akkordeon.errors import NodeFailed

LOST = 3
"""Exit code of a keeper that finds another one in place."""

LONGEST_PATH = 32
"""Limit on the path of all such folders, in bytes: Ray adds 75, and the path of a socket may have 107."""

SYSTEM = Path("/tmp")  # noqa: S108 - with a folder that belongs to this user alone

PAUSE = 0.03
"""Seconds between two checks of a condition."""


class Home:
    """A user's hold on a folder; it ends with `leave`, or with this process.

    Attributes:
        folder: its path.
        temp_dir: where Ray puts its own files.
    """

    def __init__(self, folder: Path, handle: int) -> None:
        self.folder = folder
        self.temp_dir = folder / "r"
        self.handle = handle

    @classmethod
    def enter(cls, name: str, deadline: float) -> Self:
        """Hold the folder of that name; waits while a keeper takes an earlier one down.

        Raises:
            NodeFailed: that took too long, or other users can enter the folder.
        """
        folder = _of_user() / name
        while True:
            folder.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):  # moved away between the two
                home = cls(folder, os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600))
                if wait_until(partial(posix.lock, home.handle, shared=True), deadline) and home.is_current:
                    return home
                os.close(home.handle)
            if time.monotonic() > deadline:
                raise NodeFailed(f"the earlier node in {folder} does not end: end its processes")

    @property
    def is_current(self) -> bool:
        """Whether the folder is still in its place; if not, its node has ended."""
        return _is_same(self.handle, self.folder / "lock")

    @property
    def is_ready(self) -> bool:
        """Whether the node has started: Ray writes its address down once the node is part of the cluster."""
        return (self.temp_dir / "ray_current_cluster").exists()

    @contextmanager
    def starting(self, deadline: float) -> Iterator[None]:
        """Be the only process that starts the node.

        Raises:
            NodeFailed: another process took too long.
            FileNotFoundError: the folder is no longer in its place.
        """
        handle = os.open(self.folder / "start", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not wait_until(lambda: posix.lock(handle), deadline):
                raise NodeFailed(f"another process takes too long to start the node in {self.folder}: end that process")
            yield
        finally:
            os.close(handle)

    def leave(self) -> None:
        """Let go of the folder; remove it if it has neither users nor a keeper, which would."""
        if posix.lock(self.handle) and self.is_current:
            keeper = os.open(self.folder / "keeper", os.O_RDWR | os.O_CREAT, 0o600)
            if posix.lock(keeper):
                remove(self.folder, self.handle)
            os.close(keeper)
        os.close(self.handle)


@contextmanager
def claimed(name: str, seconds: float) -> Iterator[bool]:
    """Hold a name among the processes of this user on this machine; yield whether it was free in time."""
    deadline = time.monotonic() + seconds
    path = _of_user() / f"{name}.claim"
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        free = wait_until(partial(posix.lock, handle), deadline)
        if not free or _is_same(handle, path):
            break
        os.close(handle)  # removed between the two
    try:
        yield free
    finally:
        if free:
            path.unlink()
        os.close(handle)


def remove(folder: Path, handle: int) -> None:
    """Remove a folder, if the file `lock` in it is still the one that is open by this handle."""
    if _is_same(handle, folder / "lock"):
        gone = folder.with_name(f"{folder.name}.{os.getpid()}")
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what was left in the folder of all homes by nodes whose keepers and users were killed together."""
    for lock in folder.glob("*/lock"):
        with suppress(OSError):
            Home(lock.parent, os.open(lock, os.O_RDWR)).leave()


def wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    """Wait for a condition; return whether it came true before a time of the monotonic clock."""
    while not condition():
        if time.monotonic() > deadline:
            return False
        Event().wait(PAUSE)
    return True


def _of_user() -> Path:
    folder = Path(tempfile.gettempdir()) / f"ak-{posix.user()}"
    if len(os.fsencode(folder)) > LONGEST_PATH:
        folder = SYSTEM / folder.name
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != posix.user() or stat.S_IMODE(state.st_mode) & 0o077:
        raise NodeFailed(f"{folder} must be a folder that only this user can enter: remove it, or set TMPDIR")
    return folder


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
