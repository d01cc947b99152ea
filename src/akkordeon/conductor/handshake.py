"""Compares a process that joins with the network: versions, gates and data must agree."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from torch import Tensor

from akkordeon.errors import WiringError
from akkordeon.gate.description import Gate
from akkordeon.messages.tree import Tree
from akkordeon.tensors import parts_in

PROTOCOL = 2
"""Raised whenever messages change, so that old and new versions refuse each other."""

Shapes = tuple[str, ...]
"""Of one sample, leaf by leaf: "float32 1x28x28"."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """Versions and shapes that a joining process reports; plain values, so that any version can read them.

    Args:
        protocol: version of the messages.
        package: version of akkordeon.
        python: major and minor version.
        torch: version.
        gates: of the recipe: names, and shapes of all weights; None where there is no recipe.
        x: shapes of a sample's input; None where that is not known.
        target: shapes of its target; None where that is not known, or there is none.
    """

    protocol: int
    package: str
    python: str
    torch: str
    gates: Mapping[str, Mapping[str, str]] | None = None
    x: Shapes | None = None
    target: Shapes | None = None

    def refusal(self, theirs: "Handshake", who: str) -> WiringError | None:
        """Return why a process cannot join this network, with all differences; None if it can."""
        found = list(_differences(self, theirs))
        return WiringError(f"{who} cannot join: {'; '.join(found)}") if found else None

    def completed(self, theirs: "Handshake") -> "Handshake":
        """Return this handshake with the shapes of the data, from the first process that reports them."""
        return replace(self, x=self.x or theirs.x, target=self.target or theirs.target)


def own_handshake(
    gates: Sequence[Gate] | None = None, x: Shapes | None = None, target: Shapes | None = None
) -> Handshake:
    """Return the handshake of this process."""
    return Handshake(
        PROTOCOL,
        version("akkordeon"),
        ".".join(platform.python_version_tuple()[:2]),
        version("torch").partition("+")[0],
        None if gates is None else {gate.name: _weights(gate) for gate in gates},
        x,
        target,
    )


def shapes(batch: Tree) -> Shapes:
    """Return the types and shapes of one sample of a batch: without the batch's own dimension."""
    return tuple(_shape(leaf, leaf.shape[1:]) for leaf in parts_in(batch))


def _differences(own: Handshake, theirs: Handshake) -> Iterable[str]:
    """Yield each difference between a process and the network, where both sides are known."""
    words = {"protocol": "protocol", "package": "akkordeon", "python": "Python", "torch": "torch"}
    for key, word in words.items():
        if (here := getattr(own, key)) != (there := getattr(theirs, key)):
            yield f"the network has {word} {here}, and it {there}: install the same version on both"
    if own.gates is not None and theirs.gates is not None:
        yield from _recipes(own.gates, theirs.gates)
    for kind, here, there in (("inputs", own.x, theirs.x), ("targets", own.target, theirs.target)):
        if here is not None and there is not None and here != there:
            yield f"its {kind} are {', '.join(there)}, and those of the network {', '.join(here)}"


def _recipes(own: Mapping[str, Mapping[str, str]], theirs: Mapping[str, Mapping[str, str]]) -> Iterable[str]:
    if list(own) != list(theirs):
        yield f"the gates of its recipe are {', '.join(theirs)}, and those of the network {', '.join(own)}"
        return
    for gate, weights in own.items():
        for name in {**weights, **theirs[gate]}:
            here, there = weights.get(name, "none"), theirs[gate].get(name, "none")
            if here != there:
                yield f"gate {gate!r} of its recipe has {name} {there}, and the network {here}"
                return


def _weights(gate: Gate) -> dict[str, str]:
    state = gate.module.state_dict()
    return {name: _shape(each, each.shape) for name, each in state.items() if isinstance(each, Tensor)}


def _shape(tensor: Tensor, shape: Sequence[int]) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {'x'.join(map(str, shape)) or 'scalar'}"
