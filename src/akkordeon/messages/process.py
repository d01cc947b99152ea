"""Describes the process that an actor lives in: where it is, and how much memory it takes."""

import mmap
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

STATM = Path("/proc/self/statm")
"""Where Linux tells how many pages a process has."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """A process.

    Args:
        host: name of its machine.
        pid: its number there.
        memory: resident, in bytes; 0 where the system does not tell, which is on all but Linux.
        device: where the actor computes.
        device_memory: that torch has there for this process, in bytes; 0 on the CPU.
    """

    host: str
    pid: int
    memory: int
    device: str = "cpu"
    device_memory: int = 0


def this_process(device: torch.device | None = None) -> ProcessStatus:
    """Return the status of this process, for an actor that computes on a device."""
    device = device or torch.device("cpu")
    on_device = 0 if device.type == "cpu" else torch.get_device_module(device).memory_allocated(device)
    return ProcessStatus(platform.node(), os.getpid(), _resident(), str(device), on_device)


def _resident() -> int:
    try:
        return int(STATM.read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0
