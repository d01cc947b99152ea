"""Certificates that machines of one authority take from each other, and from nobody else."""

import socket
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509

from akkordeon.engines.ray.cluster import Address, Cause, Tls, probe
from akkordeon.engines.ray.cluster.certificates import init
from akkordeon.errors import Unreachable


def shake_hands(server: Tls, client: Tls, name: str) -> str | None:
    """Return the protocol that both sides agree on."""
    side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server.authority))
    side.load_cert_chain(server.certificate, server.key)
    side.verify_mode = ssl.CERT_REQUIRED
    side.set_alpn_protocols(["h2"])
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.context().wrap_bio(to_client, to_server, server_hostname=name)
    theirs = side.wrap_bio(to_server, to_client, server_side=True)
    left = [ours, theirs]
    for _ in range(10):
        for end in list(left):
            try:
                end.do_handshake()
                left.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert not left
    return ours.selected_alpn_protocol()


def test_each_host_gets_a_certificate_for_its_names(tmp_path: Path) -> None:
    files = init(tmp_path / "tls", ["10.0.0.7", "gpu-1.lab.example"])
    certificate = x509.load_pem_x509_certificate(files["10.0.0.7"].certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["10.0.0.7", "127.0.0.1", "localhost"]
    assert 824 <= (certificate.not_valid_after_utc - datetime.now(UTC)).days <= 825
    other = x509.load_pem_x509_certificate(files["gpu-1.lab.example"].certificate.read_bytes())
    assert other.serial_number != certificate.serial_number


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    init(tmp_path / "tls", ["10.0.0.7"])
    keys = sorted((tmp_path / "tls").glob("*.key"))
    assert [key.name for key in keys] == ["10.0.0.7.key", "ca.key"]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700


def test_hosts_of_one_authority_accept_each_other(tmp_path: Path) -> None:
    first = init(tmp_path, ["10.0.0.7"])["10.0.0.7"]
    later = init(tmp_path, ["host-b"])["host-b"]
    assert shake_hands(first, later, "10.0.0.7") == "h2"
    assert shake_hands(later, first, "host-b") == "h2"


def test_a_host_of_another_authority_is_refused(tmp_path: Path) -> None:
    ours = init(tmp_path / "a", ["10.0.0.7"])["10.0.0.7"]
    theirs = init(tmp_path / "b", ["10.0.0.7"])["10.0.0.7"]
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(theirs, ours, "10.0.0.7")


def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    files = init(tmp_path, ["10.0.0.7", "10.0.0.8"])
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for '10\.0\.0\.9'"):
        shake_hands(files["10.0.0.7"], files["10.0.0.8"], "10.0.0.9")


def test_ray_is_told_of_the_files_by_its_variables(tmp_path: Path) -> None:
    assert dict(Tls.of(tmp_path, "h").environment) == {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": f"{tmp_path}/h.crt",
        "RAY_TLS_SERVER_KEY": f"{tmp_path}/h.key",
        "RAY_TLS_CA_CERT": f"{tmp_path}/ca.crt",
    }


def test_missing_files_are_named() -> None:
    with pytest.raises(Unreachable, match=r"No such file.*/nowhere/h\.crt"):
        Tls.of(Path("/nowhere"), "h").context()


def test_a_server_without_tls_is_said_to_have_none(tmp_path: Path) -> None:
    files = init(tmp_path, ["127.0.0.1"])["127.0.0.1"]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            stream, _ = server.accept()
            with stream:
                stream.recv(1024)
                stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = Thread(target=answer)
        thread.start()
        with pytest.raises(Unreachable, match="does it use TLS") as caught:
            probe(Address(*server.getsockname()), None, files)
        thread.join()
    assert caught.value.cause == Cause.TLS
