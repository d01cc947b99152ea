"""Keeps and checks the settings of gates that change while the network runs.

The conductor numbers each change and tells all of them with every lease; a gate takes in what is newer than what it
knows, and its copies know how far that is. So a change is neither lost with a message nor made twice by a restart.
"""

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from akkordeon.errors import WiringError
from akkordeon.gate.description import Gate
from akkordeon.messages.leases import Setting

Row = tuple[str, str, float, int]
"""Of the register: gate, and what `Setting` has."""


class Tunings:
    """What was set at the gates of a network since it began.

    Args:
        gates: descriptions.
    """

    def __init__(self, gates: Sequence[Gate]) -> None:
        self._gates = {gate.name: gate for gate in gates}
        self._settings: dict[str, dict[str, Setting]] = {name: {} for name in self._gates}

    def __contains__(self, gate: str) -> bool:
        return gate in self._gates

    @property
    def names(self) -> list[str]:
        """Names of the gates."""
        return list(self._gates)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All of it, in plain values."""
        return tuple((gate, *each) for gate, settings in self._settings.items() for each in settings.values())

    def restore(self, rows: Iterable[Row]) -> None:
        """Go on where another conductor has ended."""
        for gate, name, value, number in rows:
            self._settings[gate][name] = (name, value, number)

    def of(self, gate: str) -> tuple[Setting, ...]:
        """Return what was set at a gate."""
        return tuple(self._settings[gate].values())

    def change(self, gate: str, settings: Mapping[str, Any]) -> WiringError | None:
        """Note settings of a gate, all of them; or return why one of them cannot be, and note none."""
        known = self._settings[gate]
        before = {name: value for name, value, _ in known.values()}
        if (refusal := _refusal(self._gates[gate], before, settings)) is None:
            number = 1 + max((each for _, _, each in known.values()), default=0)
            known |= {name: (name, value, number) for name, value in settings.items()}
        return refusal


def _refusal(gate: Gate, before: Mapping[str, float], settings: Mapping[str, Any]) -> WiringError | None:
    """Return why settings cannot be; None if they can."""
    who = f"gate {gate.name!r}"
    optimizer = gate.make_optimizer(list(gate.module.parameters()))
    if optimizer is None:
        return WiringError(f"{who} has no trainable parameters, so there is nothing to be set")
    there = sorted({name for group in optimizer.param_groups for name, value in group.items() if _is_number(value)})
    for name, value in settings.items():
        if name not in there:
            kind = type(optimizer).__name__
            return WiringError(f"{who} has no setting {name!r}; its {kind} has: {', '.join(there)}")
        if not _is_number(value) or not math.isfinite(value):
            return WiringError(f"{who}: {name} must be a number, not {value!r}")
    return _complaint(who, optimizer, {**before, **settings}) or _compensation(gate, optimizer, {**before, **settings})


def _compensation(gate: Gate, optimizer: Optimizer, settings: Mapping[str, float]) -> WiringError | None:
    """Ask the gate's compensations, which go with some settings only."""
    for group in optimizer.param_groups:
        group.update(settings)
    for each in gate.compensations:
        if (refusal := each.refusal(optimizer)) is not None:
            return WiringError(f"gate {gate.name!r} has a {type(each).__name__}: {refusal}")
    return None


def _complaint(who: str, optimizer: Optimizer, settings: Mapping[str, float]) -> WiringError | None:
    """Ask an optimizer of this kind, which refuses at its making what it could not work with later."""
    kind: Any = type(optimizer)
    known = inspect.signature(kind).parameters
    values = {name: value for name, value in {**optimizer.defaults, **settings}.items() if name in known}
    try:
        kind([nn.Parameter(torch.zeros(1))], **values)
    except ValueError as error:
        given = ", ".join(f"{name}={value}" for name, value in settings.items())
        return WiringError(f"{who} cannot have {given}: {error}")
    except Exception:  # noqa: BLE001 - it is made in some other way, and cannot be asked
        return None
    return None


def _is_number(value: object) -> bool:
    scalar = isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point()
    return scalar or (isinstance(value, int | float) and not isinstance(value, bool))
