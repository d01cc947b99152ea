"""What a network and those who join it must agree on, and how they differ where they do not."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from torch import Tensor

from akkordeon.errors import WiringError
from akkordeon.gate.description import Gate
from akkordeon.messages.tree import Tree, flatten

PROTOCOL = 1
"""Raised whenever messages change, so that old and new do not misunderstand each other."""

Shapes = tuple[str, ...]
"""Of one sample, leaf by leaf: "float32 1x28x28"."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """What somebody who joins says of himself; plain values, so that any version can read them.

    Args:
        protocol: number of the language of messages.
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


def papers(gates: Sequence[Gate] | None = None, x: Shapes | None = None, target: Shapes | None = None) -> Handshake:
    """Return the papers of this process."""
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
    """Return what one sample of a batch is, without the batch's own dimension."""
    leaves, _ = flatten(batch)
    return tuple(_shape(leaf, leaf.shape[1:]) for leaf in leaves)


class Door:
    """Lets in who agrees with the network; the first who joins says what its data are like.

    Args:
        own: papers of the network.
    """

    def __init__(self, own: Handshake) -> None:
        self._own = own

    def refusal(self, theirs: Handshake | None, who: str) -> WiringError | None:
        """Return why somebody cannot join, in what he differs and both values; None if he can."""
        own, theirs = self._own, theirs or self._own
        if found := list(differences(own, theirs)):
            return WiringError(f"{who} cannot join: {'; '.join(found)}")
        self._own = replace(own, x=own.x or theirs.x, target=own.target or theirs.target)
        return None


def differences(own: Handshake, theirs: Handshake) -> Iterable[str]:
    """Yield in what respect somebody differs from the network, where both sides are known."""
    words = {"protocol": "protocol", "package": "akkordeon", "python": "Python", "torch": "torch"}
    for key, word in words.items():
        if (here := getattr(own, key)) != (there := getattr(theirs, key)):
            yield f"the network has {word} {here}, and it {there}: install the same version on both"
    if own.gates is not None and theirs.gates is not None:
        yield from _recipes(own.gates, theirs.gates)
    for word in ("x", "target"):
        here, there = getattr(own, word), getattr(theirs, word)
        if here is not None and there is not None and here != there:
            kind = {"x": "inputs", "target": "targets"}[word]
            yield f"its {kind} are {', '.join(there)}, and those of the network {', '.join(here)}"


def _recipes(own: Mapping[str, Mapping[str, str]], theirs: Mapping[str, Mapping[str, str]]) -> Iterable[str]:
    if list(own) != list(theirs):
        yield f"the gates of its recipe are {', '.join(theirs)}, and those of the network {', '.join(own)}"
        return
    for gate, weights in own.items():
        for name in [*weights, *(each for each in theirs[gate] if each not in weights)]:
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
