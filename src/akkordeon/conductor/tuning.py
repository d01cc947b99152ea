"""Keeps and checks the settings of gates that change while the network runs.

The conductor numbers each change and sends all of them with every lease; a gate applies those that are newer than the
ones it knows, and its copies record how far that is. So a change is neither lost with a message nor made twice by a
restart.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from akkordeon.conductor.state import ConductorState
from akkordeon.errors import WiringError
from akkordeon.gate.description import Gate
from akkordeon.messages.leases import Setting


class Tunings:
    """The settings that were changed at the gates of a network since it began.

    Args:
        gates: descriptions.
        state: of the conductor, perhaps from another one before.
    """

    def __init__(self, gates: Sequence[Gate], state: ConductorState) -> None:
        self._gates = {gate.name: gate for gate in gates}
        self._settings = state.settings

    def __contains__(self, gate: str) -> bool:
        return gate in self._gates

    @property
    def names(self) -> list[str]:
        """Names of the gates."""
        return list(self._gates)

    def of(self, gate: str) -> tuple[Setting, ...]:
        """Return the changed settings of a gate."""
        return tuple(self._settings.get(gate, {}).values())

    def change(self, gate: str, settings: Mapping[str, Any]) -> WiringError | None:
        """Change all these settings of a gate; or none, and return why."""
        known = self._settings.setdefault(gate, {})
        before = {each.name: each.value for each in known.values()}
        if (refusal := _refusal(self._gates[gate], before, settings)) is None:
            change = 1 + max((each.change for each in known.values()), default=0)
            known |= {name: Setting(name, value, change) for name, value in settings.items()}
        return refusal


def _refusal(gate: Gate, before: Mapping[str, float], settings: Mapping[str, Any]) -> WiringError | None:
    """Return why settings are invalid; None if they are valid."""
    who = f"gate {gate.name!r}"
    optimizer = gate.make_optimizer(gate.module)
    if optimizer is None:
        return WiringError(f"{who} has no trainable parameters, so it has no settings")
    there = sorted({name for group in optimizer.param_groups for name, value in group.items() if _is_number(value)})
    for name, value in settings.items():
        if name not in there:
            return WiringError(f"{who} has no setting {name!r}; its {type(optimizer).__name__} has: {', '.join(there)}")
        if not _is_number(value) or not math.isfinite(value):
            return WiringError(f"{who}: {name} must be a number, not {value!r}")
    return _complaint(who, optimizer, {**before, **settings}) or _compensation(gate, optimizer, {**before, **settings})


def _compensation(gate: Gate, optimizer: Optimizer, settings: Mapping[str, float]) -> WiringError | None:
    """Ask the gate's compensations, which work with some settings only."""
    for group in optimizer.param_groups:
        group.update(settings)
    for each in gate.compensations:
        if (refusal := each.refusal(optimizer)) is not None:
            return WiringError(f"gate {gate.name!r} has a {type(each).__name__}: {refusal}")
    return None


def _complaint(who: str, optimizer: Optimizer, settings: Mapping[str, float]) -> WiringError | None:
    """Ask an optimizer of this kind: its constructor refuses invalid values."""
    kind: Any = type(optimizer)
    known = inspect.signature(kind).parameters
    values = {name: value for name, value in {**optimizer.defaults, **settings}.items() if name in known}
    try:
        kind([nn.Parameter(torch.zeros(1))], **values)
    except ValueError as error:
        given = ", ".join(f"{name}={value}" for name, value in settings.items())
        return WiringError(f"{who} cannot have {given}: {error}")
    except Exception:  # noqa: BLE001 - another constructor, which cannot be asked
        return None
    return None


def _is_number(value: object) -> bool:
    scalar = isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point()
    return scalar or (isinstance(value, int | float) and not isinstance(value, bool))
