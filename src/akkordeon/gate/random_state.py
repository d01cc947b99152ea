"""Saves and restores torch's process-wide random generators, to draw the same numbers again."""

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class _Waited(threading.local):
    """Seconds that this thread has waited."""

    seconds = 0.0


class MeteredLock:
    """A lock that its owner may take again.

    Attributes:
        waited: for it, so far.
    """

    def __init__(self) -> None:
        self.waited = _Waited()
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            began = time.monotonic()
            self._lock.acquire()
            self.waited.seconds += time.monotonic() - began

    def __exit__(self, *_: object) -> None:
        self._lock.release()


RANDOM_LOCK = MeteredLock()
"""Held while drawing from torch's random generators, which all gates of a process share, on any engine."""


class RandomState:
    """A state of torch's process-wide generators: the CPU's, and the device's where there is one.

    Args:
        device: whose, besides the CPU's.
        tensors: a state known already; None takes the present one.
    """

    def __init__(self, device: torch.device | None, tensors: Sequence[Tensor] | None = None) -> None:
        self._device = device if device is not None and device.type != "cpu" else None
        self.tensors = list(tensors or [])
        if tensors is None:
            with RANDOM_LOCK:
                self.tensors.append(torch.default_generator.get_state())
                if self._device is not None:
                    self.tensors.append(torch.get_device_module(self._device).get_rng_state(self._device))

    def restore(self) -> None:
        """Put the generators into this state."""
        with RANDOM_LOCK:
            torch.default_generator.set_state(self.tensors[0])
            if self._device is not None and len(self.tensors) > 1:
                torch.get_device_module(self._device).set_rng_state(self.tensors[1], self._device)

    def same_as(self, other: "RandomState") -> bool:
        """Whether nothing was drawn between the two."""
        return all(map(torch.equal, self.tensors, other.tensors))


class RandomNumbers(NamedTuple):
    """The random numbers that a forward drew: the states of the generators before and after it."""

    before: RandomState
    after: RandomState
