"""What all tests share: a seed, the engines that every guarantee is tested on, and what is left out."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import pytest
import torch

from akkordeon.actor import Engine
from akkordeon.engines import Delays, Ray, Stepped, Threads
from akkordeon.engines.ray.cluster import Node
from tests import sharing
from tests.engines.ray.cluster.nodes import free_address
from tests.waiting import limit

os.environ.update(RAY_AUTH_MODE="token", RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USE_TLS="0")
"""Ray reads them when it is imported, which tests of parts of the engine do before any makes the engine."""

TOGETHER = (
    "tests/system/hosts/",
    "tests/engines/ray/cluster/",
    "tests/system/distributed/",
    "tests/system/command_line/test_terminals",
    "[ray]",
    "[ray-",
)
"""In the ids of tests that start many processes: marked `machines`, so that they can be left out."""

NO_HOSTS = bool(os.environ.get("NO_NETNS"))
"""Leave out, on purpose, what needs several hosts: that takes root and Linux."""

NO_BROWSER = bool(os.environ.get("NO_BROWSER"))
"""Leave out, on purpose, what needs a browser: Chromium and its driver."""


FIRST = (
    # It joins a cluster in this process, which can be in one only: before the one that all others share.
    "tests/system/command_line/test_terminals",
    "tests/properties/simulation/test_seeds",
    "tests/system/distributed/",
    "tests/engines/",
    "tests/properties/",
)
"""Files in the order of how long they take: each goes to one worker, so a long one must not come last."""


def order(item: pytest.Item) -> int:
    return next((i for i, path in enumerate(FIRST) if item.nodeid.startswith(path)), len(FIRST))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=order)
    for item in items:
        if any(part in item.nodeid for part in TOGETHER):
            item.add_marker("machines")
    out = [marker for marker, wanted in (("hosts", not NO_HOSTS), ("browser", not NO_BROWSER)) if not wanted]
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in out)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Give a test the time that it needs on this machine as busy as it is now."""
    mark = item.get_closest_marker("timeout") or pytest.mark.timeout(float(item.config.getini("timeout"))).mark
    item.add_marker(pytest.mark.timeout(limit(mark.args[0]), **mark.kwargs), append=False)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    sharing.note(item, report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if NO_HOSTS:
        terminalreporter.write_line("NO_NETNS is set: whatever needs several hosts was left out", yellow=True)
    if NO_BROWSER:
        terminalreporter.write_line("NO_BROWSER is set: whatever needs Chromium was left out", yellow=True)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def make_threads() -> Engine:
    return Threads(2, debug=True)


def make_stepped() -> Engine:
    return Stepped(seed=1, debug=True)


def make_timed() -> Engine:
    return Stepped(seed=1, delays=Delays(), debug=True)


@pytest.fixture(params=[make_threads, make_stepped, make_timed], ids=["threads", "stepped", "timed"])
def make_engine(request: pytest.FixtureRequest) -> Callable[[], Engine]:
    make: Callable[[], Engine] = request.param
    return make


@pytest.fixture
def engine(make_engine: Callable[[], Engine]) -> Iterator[Engine]:
    """An engine in debug mode: a write into a tensor that was sent fails the test, at the latest here."""
    engine = make_engine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Address of a cluster for all that take part in one from this process: it can take part in one only."""
    with closing(Node.open(free_address(), timeout=limit(60.0))) as node:
        yield str(node.address)


@pytest.fixture(scope="session")
def shared(cluster: str) -> Iterator[Ray]:
    """An engine for all tests that can share one."""
    engine = Ray(cluster, join=True, spares=0, first=0)
    yield engine
    engine.close()
