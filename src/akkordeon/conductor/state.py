"""What outlives the conductor: the register of who belongs to the network, and the gates' latest copies.

In memory, so it lives as long as the process that launched the network.
"""

import json
from dataclasses import asdict, dataclass
from typing import Self

from akkordeon.messages.leases import Copy
from akkordeon.messages.reports import Kind


@dataclass(frozen=True, slots=True)
class Member:
    """A sentinel that is attached.

    Args:
        name: of the sentinel.
        incarnation: tells sentinels of one name apart; no two of a network have the same.
        actor: name of the actor.
        kind: what it does.
        ends: whether it ends by itself.
        window: how many batches it may have out.
        auto: it finds out itself how many of these to have.
    """

    name: str
    incarnation: int
    actor: str
    kind: Kind
    ends: bool
    window: int
    auto: bool = False


@dataclass(frozen=True, slots=True)
class Register:
    """All that a conductor must not forget; plain values.

    Args:
        network: its name.
        conductor: how many there were.
        term: number of the latest wiring; written before anything of it is begun.
        gates: name of each gate and of the actor that it is, in the order of the chain.
        sentinels: those attached.
        names: of all sentinels that ever were.
        newest: the highest incarnation of a sentinel so far.
        max_in_flight: the most batches that training sentinels were ever allowed to have out together.
        retired: actors that are to end, and may be out of reach.
        cause: why the network has failed; None if it has not.
        settings: of gates, that were set otherwise: gate, name, value, and number of the change.
    """

    network: str
    conductor: int
    term: int
    gates: tuple[tuple[str, str], ...]
    sentinels: tuple[Member, ...] = ()
    names: tuple[str, ...] = ()
    newest: int = 0
    max_in_flight: int = 0
    retired: tuple[str, ...] = ()
    cause: str | None = None
    settings: tuple[tuple[str, str, float, int], ...] = ()

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` made a text of."""
        values = json.loads(text)
        values["gates"] = tuple((gate, actor) for gate, actor in values["gates"])
        values["sentinels"] = tuple(Member(**each) for each in values["sentinels"])
        values["names"] = tuple(values["names"])
        values["retired"] = tuple(values["retired"])
        values["settings"] = tuple(tuple(each) for each in values["settings"])
        return cls(**values)


class Vault:
    """Keeps the register and the copies."""

    def __init__(self) -> None:
        self.register: Register | None = None
        self.copies: dict[str, Copy] = {}

    def write(self, register: Register) -> None:
        """Keep a register in place of the one before."""
        self.register = register

    def put(self, copy: Copy) -> None:
        """Keep a copy of a gate in place of the one before."""
        self.copies[copy.state.name] = copy
