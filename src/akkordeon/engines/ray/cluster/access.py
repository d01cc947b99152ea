"""Names the secrets that protect a network: what all its machines must have in common to be let in."""

from dataclasses import dataclass
from pathlib import Path

from akkordeon.engines.ray.cluster.address import Address
from akkordeon.engines.ray.cluster.tls import Tls
from akkordeon.engines.ray.cluster.tokens import token_path


@dataclass(frozen=True)
class Access:
    """The secrets of a network. On one machine alone none are needed.

    Args:
        token: file of the token that all machines of the network have (see `akkordeon token`). None looks where
            `akkordeon token` writes it.
        tls: folder of certificates, for encrypted connections (see `akkordeon tls`).
        insecure: do without a token, even where other machines can reach the network.
    """

    token: Path | str | None = None
    tls: Path | str | None = None
    insecure: bool = False

    def token_for(self, address: Address) -> Path | None:
        """Return the file of the token for a network; None where it needs none."""
        if self.token is not None:
            return Path(self.token)
        return None if self.insecure or address.is_loopback else token_path()

    def tls_of(self, host: str) -> Tls | None:
        """Return the certificates of a host, by the name or address that others reach it by; None without `tls`."""
        return None if self.tls is None else Tls.of(Path(self.tls), host)
