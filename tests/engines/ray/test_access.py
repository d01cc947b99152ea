"""The secrets of a network are one value; the keywords of the version before still work, and say what to write."""

from pathlib import Path

import pytest

from akkordeon.engines import Access, Ray
from akkordeon.engines.ray.cluster import Address, token_path
from akkordeon.errors import Unreachable
from tests.engines.ray.cluster.nodes import free_address

LOCAL, ELSEWHERE = Address("127.0.0.1", 25520), Address("192.0.2.1", 25520)


@pytest.mark.parametrize(
    ("access", "address", "token"),
    [
        (Access(), LOCAL, None),
        (Access(), ELSEWHERE, token_path()),
        (Access(insecure=True), ELSEWHERE, None),
        (Access("file"), LOCAL, Path("file")),
    ],
)
def test_only_a_network_that_others_can_reach_needs_a_token(access: Access, address: Address, token: Path) -> None:
    assert access.token_for(address) == token


def test_the_certificates_are_those_of_a_host() -> None:
    assert Access().tls_of("host") is None
    tls = Access(tls="folder").tls_of("host")
    assert tls is not None
    assert tls.certificate == Path("folder/host.crt")


def test_the_keywords_of_the_version_before_warn() -> None:
    with (
        pytest.warns(DeprecationWarning, match=r"use Ray\(access=Access\("),
        pytest.raises(Unreachable, match="nothing listens"),
    ):
        Ray(str(free_address()), join=True, insecure=True)
