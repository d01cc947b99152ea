"""What all tests share: a seed, and the engines that every guarantee is tested on."""

from collections.abc import Callable, Iterator

import pytest
import torch

from akkordeon.actor import Engine
from akkordeon.engines import Delays, Stepped, Threads


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
