"""Namespaces of the kernel, held by a process that ends with whoever made them."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.system.hosts.needs import LEAVE_OUT, HostsUnavailable, program

__all__ = ["PRIVATE", "Namespaces"]

PRIVATE = ("/tmp", "/dev/shm", "/run")  # noqa: S108 - these are what each host has of its own
"""Folders that are empty, in memory and private on each host."""

HOLD = "echo ready; trap '' CHLD; exec cat >/dev/null"
"""Nobody ever writes to its input, which ends when its maker does, even by SIGKILL; and with it, the first process of
a host, all others of that host end. It reaps those that lose their parents by ignoring that they end.
"""

FURNISH = f"""
set -e
for place in {" ".join(PRIVATE)}; do
    mount -n -t tmpfs -o mode=1777 tmpfs /mnt
    for folder in "$@"; do
        case "$folder" in "$place"/*)
            mkdir -p "/mnt${{folder#"$place"}}"
            mount -n --bind "$folder" "/mnt${{folder#"$place"}}"
        esac
    done
    mount -n --move /mnt "$place"
done
mkdir -m 700 "$HOME"
echo "$NAME" > /proc/sys/kernel/hostname
echo "$KNOWN" > /run/hosts
if [ -e /etc/hosts ]; then mount -n --bind /run/hosts /etc/hosts; fi
{HOLD}
"""
"""Each folder is built where nobody looks, with what is to be seen of the one that it covers, and moved into place."""


class Namespaces:
    """Namespaces, and the process that holds them.

    Args:
        unshare: options of `unshare`: which.
        script: what is done first within, by a shell; it ends with `HOLD`.
        environment: variables of that shell.
        folders: its arguments.

    Raises:
        HostsUnavailable: if they cannot be made.
    """

    def __init__(
        self, unshare: Sequence[str], script: str, environment: Mapping[str, str], folders: Sequence[Path] = ()
    ) -> None:
        path = os.environ.get("PATH", os.defpath)
        self._process = subprocess.Popen(
            [program("unshare"), *unshare, "sh", "-c", script, "host", *folders],
            env={"PATH": path, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise HostsUnavailable(
                f"this machine makes no namespaces, though it has the programs: {self._end()}; {LEAVE_OUT}"
            )
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        self.pid = int(children[0]) if children else self.pid  # with --fork, the holder is the child

    @classmethod
    def of_a_network(cls) -> Self:
        """Make a network alone."""
        return cls(["--net"], HOLD, {})

    @classmethod
    def of_a_host(cls, name: str, home: str, shared: Sequence[Path], known: str) -> Self:
        """Make all that a host has of its own.

        Args:
            name: the host's.
            home: its home, within one of its private folders.
            shared: folders that are to be seen even if they lie in one that is private.
            known: content of its /etc/hosts.
        """
        unshare = ["--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "--kill-child"]
        return cls(unshare, FURNISH, {"NAME": name, "HOME": home, "KNOWN": known}, shared)

    @property
    def are_there(self) -> bool:
        """Whether they still exist."""
        return self._process.poll() is None

    def close(self) -> None:
        """End all processes within, and wait until they have ended."""
        if self.are_there:
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait()  # until the kernel has ended all others as well
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _end(self) -> str:
        _, said = self._process.communicate()
        return said.decode(errors="replace").strip()
