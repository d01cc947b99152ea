"""Three hosts for the tests that do not need any more, or any that run for long."""

from collections.abc import Iterator

import pytest

from tests.system.hosts import Hosts


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as hosts:
        yield hosts
