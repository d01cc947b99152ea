"""Names weights in the whole network, and fills modules by these names.

A parameter's name in the whole network is the prefix of its gate and its name in the gate's module. A parameter that a
module holds in several places counts once, under the first of its names.
"""

from collections.abc import Iterator, Sequence

from torch import nn

from akkordeon.errors import CheckpointMismatch
from akkordeon.gate.description import Gate, own_copy
from akkordeon.gate.parameters import NamedTensors, fill, kept

MOST = 12
"""Differences that an error lists; of more than that it tells the number."""


def whole_names(gates: Sequence[Gate]) -> dict[str, tuple[Gate, str]]:
    """Return, by its name in the whole network, the gate of each weight and its name there."""
    return {gate.whole_prefix + name: (gate, name) for gate in gates for name in kept(gate.module)}


def fitted(gates: Sequence[Gate], weights: NamedTensors, origin: str) -> list[nn.Module]:
    """Return a copy of each gate's module, with these weights.

    Args:
        gates: whose modules; they are left as they are.
        weights: by their names in the whole network.
        origin: where they come from, for errors.

    Raises:
        CheckpointMismatch: names or shapes differ; lists every difference.
    """
    found = list(differences(gates, weights))
    if found:
        raise CheckpointMismatch(f"{origin} does not fit these gates: {listed(found)}")
    modules = []
    for gate in gates:
        module = own_copy(gate.module)
        fill(module, {name: weights[gate.whole_prefix + name] for name in kept(module)})
        modules.append(module)
    return modules


def differences(gates: Sequence[Gate], weights: NamedTensors) -> Iterator[str]:
    """Yield how names and shapes of weights differ from those of the gates."""
    known = whole_names(gates)
    shapes = {gate.name: {name: tensor.shape for name, tensor in kept(gate.module).items()} for gate in gates}
    aliases = {gate.whole_prefix + name for gate in gates for name in gate.module.state_dict(keep_vars=True)}
    for name, (gate, inner) in known.items():
        if name not in weights:
            yield f"{name!r} of gate {gate.name!r} is missing"
        elif weights[name].shape != (shape := shapes[gate.name][inner]):
            yield f"{name!r} is {tuple(weights[name].shape)}, and gate {gate.name!r} has {tuple(shape)}"
    for name in weights:
        if name not in known and name not in aliases:
            yield f"{name!r} belongs to no gate"


def listed(found: Sequence[str]) -> str:
    """Return differences as one line."""
    more = f"; and {len(found) - MOST} more" if len(found) > MOST else ""
    return "; ".join(found[:MOST]) + more
