"""Restores gates and modules from saved networks and weights."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from akkordeon.errors import CheckpointMismatch, WiringError
from akkordeon.gate.chain import check_chain
from akkordeon.gate.description import Gate
from akkordeon.messages.states import GateState, Position
from akkordeon.saving import Saved, read, read_weights
from akkordeon.saving.comparing import as_described, mismatches, schedule_changes
from akkordeon.saving.names import differences, fitted, listed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beginning:
    """The initial state of a network.

    Args:
        gates: descriptions.
        states: of the gates, to continue from; empty for a new network.
        positions: of training sentinels in their data, by name.
    """

    gates: tuple[Gate, ...]
    states: tuple[GateState, ...] = ()
    positions: Mapping[str, Position] = field(default_factory=dict)


def beginning(
    gates: Sequence[Gate], weights: Path | str | Mapping[str, Tensor] | None, resume: Path | str | None
) -> Beginning:
    """Return the initial state of a network.

    Args:
        gates: in the order of the chain.
        weights: as for `launch`.
        resume: as for `launch`.

    Raises:
        WiringError: both weights and resume are given.
        CheckpointDamaged: nothing is saved there, or it is damaged.
        CheckpointMismatch: it does not fit the gates; lists every difference.
    """
    if weights is not None and resume is not None:
        raise WiringError("give either weights= to begin with, or resume= a saved network, not both")
    if resume is not None:
        saved = read(Path(resume))
        _check(gates, saved, resume)
        return Beginning(tuple(gates), saved.gates, saved.positions)
    if weights is not None:
        modules = _modules(gates, weights)
        return Beginning(tuple(replace(gate, module=module) for gate, module in zip(gates, modules, strict=True)))
    return Beginning(tuple(gates))


def load(path: Path | str, gates: Sequence[Gate]) -> nn.Sequential:
    """Return copies of the gates' modules with saved weights, as an ordinary `nn.Sequential`.

    The gates may differ from those saved, if the names of the weights in the whole network are the same.

    Args:
        path: a folder that `Network.save` wrote, or a safetensors file.
        gates: in the order of the chain.

    Raises:
        CheckpointDamaged: nothing is saved there, or it is damaged.
        CheckpointMismatch: it does not fit the gates; lists every difference.
    """
    check_chain(gates)
    return chained(gates, _modules(gates, path))


def chained(gates: Sequence[Gate], modules: Sequence[nn.Module]) -> nn.Sequential:
    """Return modules as an `nn.Sequential`, named as the gates are, with underscores for dots."""
    model = nn.Sequential()
    for gate, module in zip(gates, modules, strict=True):
        model.add_module(gate.name.replace(".", "_"), module)
    return model


def _modules(gates: Sequence[Gate], weights: Path | str | Mapping[str, Tensor]) -> list[nn.Module]:
    if isinstance(weights, Mapping):
        return fitted(gates, weights, "the state dict given")
    return fitted(gates, read_weights(Path(weights)), str(weights))


def _check(gates: Sequence[Gate], saved: Saved, origin: Path | str) -> None:
    before, now = [state.name for state in saved.gates], [gate.name for gate in gates]
    if before != now:
        raise CheckpointMismatch(
            f"{origin} has the gates {', '.join(before)}, and these are {', '.join(now)}; give weights= instead of "
            "resume= for its weights alone, which need only the same names"
        )
    grown = {name for gate, state in zip(gates, saved.gates, strict=True) for name in as_described(gate, state)}
    found = list(differences(gates, saved.weights, grown))
    found += [each for gate, state in zip(gates, saved.gates, strict=True) for each in mismatches(gate, state)]
    if found:
        raise CheckpointMismatch(f"{origin} cannot be resumed with these gates: {listed(found)}")
    changes = [each for gate, state in zip(gates, saved.gates, strict=True) for each in schedule_changes(gate, state)]
    if changes:
        logger.warning("%s; for new schedules, begin with its weights alone (weights=)", listed(changes))
