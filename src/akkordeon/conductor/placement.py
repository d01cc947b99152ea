"""Decides on which host each gate lives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from akkordeon.errors import WiringError
from akkordeon.gate.description import Gate
from akkordeon.splitting.balance import evenly

HOST = "host "
"""Prefix of the places that offer to host gates."""


def lent(places: Sequence[str]) -> list[str]:
    """Return the names of the hosts among places."""
    return sorted(place.removeprefix(HOST) for place in places if place.startswith(HOST))


@dataclass(frozen=True)
class Placement:
    """On which hosts the gates of a network live.

    Args:
        fixed: host of a gate, by its name.
        hosts: all other gates are spread over these, in the order of the chain, so that neighbours are together and
            the hosts have about equal work. Empty: they stay where the network was launched.
        costs: of the gates, by name: seconds per batch, or anything proportional. Default: the number of weights.
        wait: seconds that hosts have to join.
    """

    fixed: Mapping[str, str] = field(default_factory=dict)
    hosts: Sequence[str] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    wait: float = 20.0

    def check(self, gates: Sequence[Gate]) -> None:
        """Check that all gates of the placement exist.

        Raises:
            WiringError: a gate does not exist; lists those that do.
        """
        names = [gate.name for gate in gates]
        for gate in [*self.fixed, *self.costs]:
            if gate not in names:
                raise WiringError(f"there is no gate {gate!r} to be placed; there are: {', '.join(names)}")

    @property
    def needed(self) -> list[str]:
        """All hosts that the placement names."""
        return sorted({*self.fixed.values(), *self.hosts})

    def places(self, gates: Sequence[Gate], there: Sequence[str]) -> dict[str, str | None]:
        """Return the place of each gate among the hosts that are there; None is where the network was launched.

        A gate whose host is gone is spread like those without a fixed host.
        """
        found = {gate.name: self.fixed[gate.name] for gate in gates if self.fixed.get(gate.name) in there}
        rest = [gate for gate in gates if gate.name not in found]
        hosts = [host for host in self.hosts if host in there]
        if hosts and rest:
            parts = min(len(hosts), len(rest))
            cuts = [0, *evenly([self._cost(gate) for gate in rest], parts), len(rest)]
            for host, begin, end in zip(hosts, cuts, cuts[1:], strict=False):
                found |= {gate.name: host for gate in rest[begin:end]}
        return {gate.name: HOST + found[gate.name] if gate.name in found else None for gate in gates}

    def _cost(self, gate: Gate) -> float:
        weights = sum(parameter.numel() for parameter in gate.module.parameters())
        return self.costs.get(gate.name, float(max(1, weights)))
