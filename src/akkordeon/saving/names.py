"""Names weights in the whole network, and fills modules by these names.

A parameter's name in the whole network is the prefix of its gate and its name in the gate's module. A parameter that
stands in several places of a module counts once, under the first of its names.
"""

from collections.abc import Container, Iterator, Sequence

from torch import nn

from akkordeon.errors import CheckpointMismatch
from akkordeon.gate.description import Gate, own_copy
from akkordeon.gate.parameters import NamedTensors, fill, kept

LISTED = 12
"""Number of differences listed in an error; further ones are counted."""


def fitted(gates: Sequence[Gate], weights: NamedTensors, origin: str) -> list[nn.Module]:
    """Return a copy of each gate's module, filled with these weights.

    Args:
        gates: are not changed.
        weights: by their names in the whole network.
        origin: of the weights, for errors.

    Raises:
        CheckpointMismatch: names or shapes differ; lists every difference.
    """
    if found := list(differences(gates, weights)):
        raise CheckpointMismatch(f"{origin} does not fit these gates: {listed(found)}")
    modules = [own_copy(gate.module) for gate in gates]
    for gate, module in zip(gates, modules, strict=True):
        fill(module, {name: weights[gate.whole_prefix + name] for name in kept(module)})
    return modules


def differences(gates: Sequence[Gate], weights: NamedTensors, grown: Container[str] = ()) -> Iterator[str]:
    """Yield the differences in names and shapes between weights and gates.

    Args:
        gates: as they are described.
        weights: by their names in the whole network.
        grown: names whose shapes may differ.
    """
    for gate in gates:
        for name, tensor in ((gate.whole_prefix + inner, tensor) for inner, tensor in kept(gate.module).items()):
            if name not in weights:
                yield f"{name!r} of gate {gate.name!r} is missing"
            elif weights[name].shape != tensor.shape and name not in grown:
                yield f"{name!r} is {tuple(weights[name].shape)}, and gate {gate.name!r} has {tuple(tensor.shape)}"
    known = {gate.whole_prefix + name for gate in gates for name in gate.module.state_dict(keep_vars=True)}
    yield from (f"{name!r} belongs to no gate" for name in weights if name not in known)


def listed(found: Sequence[str]) -> str:
    """Return differences as one line."""
    more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return "; ".join(found[:LISTED]) + more
