"""Encryption between the machines of a network: the files that each of them needs, and how Ray is told of them."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from akkordeon.errors import Unreachable

AUTHORITY = "ca.crt"


class Tls(NamedTuple):
    """What a machine shows to others, and whom it trusts. Both sides of a connection have to show a certificate."""

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
        """Return how to talk to a network as Ray does.

        Raises:
            Unreachable: a file is missing, or is not what it should be.
        """
        try:
            context = ssl.create_default_context(cafile=str(self.authority))
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # which errors of ssl are, too
            files = ", ".join(map(str, self))
            text = f"the certificates for TLS cannot be used ({error.strerror or error}): check the files {files}"
            raise Unreachable(text, "tls") from error
        context.set_alpn_protocols(["h2"])
        return context
