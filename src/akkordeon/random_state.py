"""States of torch's process-wide random generators, to draw the same numbers again."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Drawn", "RandomState"]


class RandomState:
    """A state of torch's process-wide generators: the CPU's, and the device's where there is one."""

    def __init__(self, device: torch.device | None) -> None:
        self._device = device if device is not None and device.type != "cpu" else None
        self._cpu = torch.get_rng_state()
        self._other: Tensor | None = None
        if self._device is not None:
            self._other = torch.get_device_module(self._device).get_rng_state(self._device)

    def restore(self) -> None:
        """Let the generators go on from here."""
        torch.set_rng_state(self._cpu)
        if self._device is not None:
            torch.get_device_module(self._device).set_rng_state(self._other, self._device)

    def same_as(self, other: "RandomState") -> bool:
        """Whether nothing was drawn between the two."""
        if not torch.equal(self._cpu, other._cpu):
            return False
        return self._other is None or other._other is None or torch.equal(self._other, other._other)


class Drawn(NamedTuple):
    """The random numbers that a forward drew: the state of the generators before, and after."""

    before: RandomState
    after: RandomState
