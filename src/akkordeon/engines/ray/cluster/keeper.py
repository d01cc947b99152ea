"""Keeps a node while it has users: `python -m akkordeon.engines.ray.cluster.keeper FOLDER COMMAND...`.

The command runs the node until it gets a SIGTERM. Two processes see to its end. The inner one waits for the last user
to go, by a lock that the kernel frees even when a user is killed. The outer one waits for the inner one. If either is
killed, the other one ends all processes of the node, which are its descendants, and removes the node's files.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread

from akkordeon.engines import posix
from akkordeon.engines.ray.cluster.home import LOST, remove, sweep

NODE_GRACE = 2.5
"""Seconds that a node has to end by itself. It takes 0.5 on an idle machine; it does not wait for actors."""

CLEANING = 5.0
"""Seconds for killed processes to be gone."""

END_SIGNALS = frozenset({signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1}) if sys.platform != "win32" else frozenset()


def main(folder: Path, command: list[str]) -> int:
    """Keep a node; return at once to the caller, and go on in the background."""
    users, own = (os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600) for name in ("lock", "keeper"))
    if not posix.lock(own):
        return LOST
    shutil.rmtree(folder / "r", ignore_errors=True)  # of a node whose keepers were killed: it would seem ready
    if posix.fork():
        return 0
    posix.adopt_orphans()
    outer = os.getpid()
    inner = posix.fork()
    if inner:
        sweep(folder.parent)
        os.waitpid(inner, 0)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
        posix.end_with_parent(outer, signal.SIGTERM)
        posix.adopt_orphans()
        _keep(users, command)
    _end_all()
    remove(folder, users)
    return 0


def _keep(users: int, command: list[str]) -> None:
    """Run the node until its last user goes, or it ends by itself, or a SIGTERM comes."""
    prepare = partial(_in_node, os.getpid())
    node = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=prepare)  # noqa: PLW1509, S603 - one thread
    Thread(target=_watch, args=[users], daemon=True).start()
    while node.poll() is None and signal.sigwait(END_SIGNALS) == signal.SIGCHLD:
        pass  # some other process ended, that was adopted
    if node.poll() is None:
        node.terminate()
        with suppress(subprocess.TimeoutExpired):
            node.wait(NODE_GRACE)
    else:
        print(f"the node ended by itself, with exit code {node.returncode}", flush=True)


def _watch(users: int) -> None:
    posix.lock(users, wait=True)
    os.kill(os.getpid(), signal.SIGUSR1)


def _in_node(keeper: int) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
    posix.end_with_parent(keeper, signal.SIGKILL)


def _end_all() -> None:
    import psutil  # noqa: PLC0415 - of an extra

    deadline = time.monotonic() + CLEANING
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1.0)
        if time.monotonic() > deadline:
            print(f"some processes of the node do not end: {left}", flush=True)
            return


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
