"""Certificates for the machines of a network: an authority of its own, and one certificate per host."""

import ipaddress
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from akkordeon.engines.ray.cluster.tls import AUTHORITY, Tls

PEM = serialization.Encoding.PEM

VALID = timedelta(days=825)
"""Some systems refuse certificates that are valid for longer."""

OWN_NAMES = ("127.0.0.1", "localhost")
"""Names by which processes of one machine reach each other."""

OTHER_USES = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
"""What the key of the authority is not for, beside what goes with a key agreement."""


def init(folder: Path, hosts: Iterable[str]) -> dict[str, Tls]:
    """Write an authority, and a certificate with its key for each host; later, more hosts of the same authority.

    Only the authority's certificate and the two files of a host belong onto that host; the authority's key stays here.

    Args:
        folder: gets the files ca.crt, ca.key, HOST.crt and HOST.key; made, if need be.
        hosts: by address or name, as others reach them.

    Returns:
        The files of each host.

    Raises:
        OSError: a file cannot be written.
        ValueError: the authority that is there cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (folder / AUTHORITY).exists():
        authority = x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        authority = _authority(key)
        _write_key(folder / "ca.key", key)
        (folder / AUTHORITY).write_bytes(authority.public_bytes(PEM))
    return {host: _host(folder, host, authority, key) for host in hosts}


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "akkordeon")])
    uses = {"digital_signature": True, "key_cert_sign": True, "crl_sign": True, **dict.fromkeys(OTHER_USES, False)}
    usage = x509.KeyUsage(**uses, encipher_only=False, decipher_only=False)
    builder = _builder(name, name, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())


def _host(folder: Path, host: str, authority: x509.Certificate, signer: ec.EllipticCurvePrivateKey) -> Tls:
    files = Tls.of(folder, host)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    names = x509.SubjectAlternativeName([_general(each) for each in dict.fromkeys((host, *OWN_NAMES))])
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = _builder(name, authority.subject, key.public_key()).add_extension(names, critical=False)
    builder = builder.add_extension(uses, critical=False).add_extension(issuer, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    _write_key(files.key, key)
    files.certificate.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(PEM))
    return files


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1))  # clocks differ
    builder = builder.not_valid_after(now + VALID)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.unlink(missing_ok=True)
    content = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
