"""Checks that gates can be wired together."""

from collections.abc import Iterable, Sequence

from torch import nn

from akkordeon.errors import WiringError
from akkordeon.gate.description import Gate


def check_chain(gates: Sequence[Gate]) -> None:
    """Check that gates can be wired together.

    Raises:
        WiringError: none, two of one name, or a parameter that two gates share.
    """
    if isinstance(gates, nn.Module):
        raise WiringError(
            f"a network is made of gates, and this is a {type(gates).__name__}; cut it into gates with akkordeon.split"
        )
    if isinstance(gates, Gate):
        raise WiringError(f"a network is made of a list of gates; put gate {gates.name!r} into one: [gate]")
    if not gates:
        raise WiringError("a network needs at least one gate, and the list is empty")
    for gate in gates:
        if not isinstance(gate, Gate):
            raise WiringError(f"a network is made of gates, and the list holds a {type(gate).__name__}")
    names = [gate.name for gate in gates]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise WiringError(f"two gates are named {twice[0]!r}; give each a name of its own. Names: {', '.join(names)}")
    _check_attributes(names)
    _check_norms(gates)
    _check_whole_names(gates)
    _check_sharing(gates)


def _check_attributes(names: Sequence[str]) -> None:
    """Check that an `nn.Sequential` of the gates could be made: their names become names of attributes."""
    attributes = [name.replace(".", "_") for name in names]
    for name, attribute in zip(names, attributes, strict=True):
        if hasattr(nn.Sequential, attribute) or attribute == "training":
            raise WiringError(f"a gate cannot be named {name!r}, which means something else to an nn.Sequential")
        if attributes.count(attribute) > 1:
            raise WiringError(f"a gate is named {name!r}, and another one too with dots for underscores; rename one")


def _check_norms(gates: Sequence[Gate]) -> None:
    learning = [gate for gate in gates if any(each.requires_grad for each in gate.module.parameters())]
    for gate in learning:
        if gate.norm != learning[0].norm:
            raise WiringError(
                f"gate {learning[0].name!r} has norm={learning[0].norm!r} and gate {gate.name!r} {gate.norm!r}: a norm "
                "of the whole network needs to be known of all gates; give them the same"
            )


def _check_whole_names(gates: Iterable[Gate]) -> None:
    owner: dict[str, str] = {}
    for gate in gates:
        for name in gate.module.state_dict(keep_vars=True):
            other = owner.setdefault(gate.whole_prefix + name, gate.name)
            if other != gate.name:
                raise WiringError(
                    f"gates {other!r} and {gate.name!r} both have a weight that is {gate.whole_prefix + name!r} in the "
                    "whole network; give one of them another prefix, or leave it out"
                )


def _check_sharing(gates: Iterable[Gate]) -> None:
    owner: dict[int, tuple[str, str]] = {}
    for gate in gates:
        for name, parameter in gate.module.named_parameters():
            if not parameter.numel():
                continue
            storage = parameter.untyped_storage().data_ptr()
            other, its_name = owner.setdefault(storage, (gate.name, name))
            if other != gate.name:
                raise WiringError(
                    f"gates {other!r} and {gate.name!r} share a parameter ({its_name!r} and {name!r}). "
                    "A parameter has one owner: put both modules into one gate, or give each its own copy, as "
                    "akkordeon.untie does for a whole model"
                )
