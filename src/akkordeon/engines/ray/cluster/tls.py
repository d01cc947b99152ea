"""Encryption between the machines of a network: the files that each machine needs, and Ray's settings for them."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from akkordeon.errors import Unreachable

AUTHORITY = "ca.crt"


class Tls(NamedTuple):
    """A machine's certificate and key, and the authority it trusts. Both sides of a connection show a certificate."""

    certificate: Path
    key: Path
    authority: Path

    @classmethod
    def of(cls, folder: Path, host: str) -> Self:
        """Return the files of one host in a folder that `akkordeon.engines.ray.cluster.certificates.init` wrote."""
        return cls(folder / f"{host}.crt", folder / f"{host}.key", folder / AUTHORITY)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which Ray uses these files; every process of a network needs them."""
        return {
            "RAY_USE_TLS": "1",
            "RAY_TLS_SERVER_CERT": str(self.certificate.absolute()),
            "RAY_TLS_SERVER_KEY": str(self.key.absolute()),
            "RAY_TLS_CA_CERT": str(self.authority.absolute()),
        }

    def context(self) -> ssl.SSLContext:
        """Return how to connect to a network as Ray does.

        Raises:
            Unreachable: a file is missing or invalid.
        """
        try:
            context = ssl.create_default_context(cafile=str(self.authority))
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # errors of ssl are of this kind, too
            files = ", ".join(map(str, self))
            text = f"cannot use the certificates for TLS ({error.strerror or error}): check the files {files}"
            raise Unreachable(text, "tls") from error
        context.set_alpn_protocols(["h2"])
        return context
